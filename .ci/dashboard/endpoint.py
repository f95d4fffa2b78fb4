"""The endpoint that events are passed on to."""

import http.server
import itertools
import threading

REFUSED = 25  # one in so many


class Endpoint:
    """Accepts most of what it is sent, until the process ends."""

    def __init__(self):
        requests = itertools.count(1)

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(503 if next(requests) % REFUSED == 0 else 204)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}/"
