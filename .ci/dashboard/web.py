"""Requests to one server, and their JSON."""

import json
import urllib.error
import urllib.parse
import urllib.request


class Web:
    def __init__(self, base):
        self.base = base
        # A proxy of the machine is not for these servers.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def call(self, method, path, body=None, headers=None):
        """The status and the JSON of the answer, which may be none."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, headers or {}, method=method)
        try:
            with self.opener.open(request, timeout=30) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as failure:
            status, text = failure.code, failure.read()
        return status, json.loads(text) if text[:1] in (b"{", b"[") else None

    def expect(self, status, method, path, body=None, headers=None):
        got, answer = self.call(method, path, body, headers)
        if got != status:
            raise SystemExit(f"{method} {path}: {got} instead of {status}: {answer}")
        return answer

    def get(self, path, **parameters):
        """The data of an answer of Prometheus."""
        status, answer = self.call("GET", path + "?" + urllib.parse.urlencode(parameters))
        if status != 200:
            raise SystemExit(f"{path} {parameters}: {answer}")
        return answer["data"]

    def answers(self, path):
        try:
            return self.call("GET", path)[0] == 200
        except (OSError, ValueError):
            return False
