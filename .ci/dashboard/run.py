"""Runs the service, the simulator and Prometheus, plays, and runs every query of the alarms and the dashboard."""

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import draw
import endpoint
import play
import queries
from web import Web

SECRET = "webhook-secret-of-this-run"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Run:
    """The processes, which end with it, and their log files."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        self.endpoint = endpoint.Endpoint()
        ports = {name: free_port() for name in ("rejoin", "sim", "prometheus")}
        self.addresses = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        self.urls = {name: f"http://{address}" for name, address in self.addresses.items()}

    def start(self, name, command, ready, **environment):
        with open(self.folder / f"{name}.log", "w") as log:
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment}))
        deadline = time.monotonic() + 60
        while not Web(self.urls[name]).answers(ready):
            if self.processes[-1].poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{name} does not start:\n" + (self.folder / f"{name}.log").read_text()[-3000:])
            time.sleep(0.2)

    def start_all(self):
        rejoin = os.environ["REJOIN"]
        webhooks = ["--webhook-url", self.urls["rejoin"] + play.WEBHOOKS, "--webhook-secret", SECRET]
        # Ghosts of a second, so that drops are reported during the run.
        sim = [rejoin, "sim", "--listen", self.addresses["sim"], "--ghost", "1s", *webhooks]
        self.start("sim", sim, "/control/state", HMS_ACCESS_KEY="", HMS_SECRET="")
        settings = {
            "HMS_BASE_URL": self.urls["sim"] + "/v2",
            "HMS_ACCESS_KEY": "sim-access-key",
            "HMS_SECRET": "sim-secret-that-everybody-knows",
            "REJOIN_WEBHOOK_SECRETS": SECRET,
            "REJOIN_AUTO_RESTORE": "dropped",
            "REJOIN_GHOST": "1s",
            "REJOIN_WATCH": "active",
            "REJOIN_WATCH_EVERY": "5s",
            "REJOIN_FORWARD_URL": self.endpoint.url,
            "DATABASE_URL": "",
        }
        serve = [rejoin, "serve", "--embedded-postgres", "--listen", self.addresses["rejoin"]]
        self.start("rejoin", serve, "/health/ready", **settings)
        shutil.copy("deploy/prometheus/rules.yml", self.folder)
        (self.folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            "rule_files: [rules.yml]\n"
            f"scrape_configs: [{{job_name: rejoin, static_configs: [{{targets: ['{self.addresses['rejoin']}']}}]}}]\n"
        )
        prometheus = [
            "prometheus",
            f"--config.file={self.folder}/prometheus.yml",
            f"--storage.tsdb.path={self.folder}/data",
            f"--web.listen-address={self.addresses['prometheus']}",
        ]
        self.start("prometheus", prometheus, "/-/ready")

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait(timeout=60)


def main():
    draws = sys.argv[1:] == ["--draw"]
    with tempfile.TemporaryDirectory(prefix="rejoin-alarms-") as folder:
        run = Run(pathlib.Path(folder))
        try:
            run.start_all()
            began = time.time()
            # Some scrapes, so that the first of everything is a step from 0.
            time.sleep(3)
            play.play(Web(run.urls["rejoin"]), Web(run.urls["sim"] + "/control"), seconds=180 if draws else 15)
            time.sleep(2)
            span = (began, time.time())
            prometheus = Web(run.urls["prometheus"])
            queries.check_rules(prometheus)
            panels = queries.check_dashboard(prometheus, span)
            if draws:
                pathlib.Path("docs/dashboard.svg").write_text(draw.picture(panels, span))
        finally:
            run.stop()


main()
