"""The service that the suite shares: it keeps namespaces and audit events. It listens on 127.0.0.1 only."""

import http.server
import json
import os
import sys
from collections import defaultdict
from pathlib import Path

EVENTS: dict[str, list[str]] = defaultdict(list)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(200, EVENTS.get(self.path.rpartition("/")[2], []))

    def do_PUT(self) -> None:
        name = self.path.rpartition("/")[2]
        self._answer(409 if name in EVENTS else 201, EVENTS[name])

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        EVENTS[self.path.rpartition("/")[2]] += told
        self._answer(201, told)

    def _answer(self, status: int, body: list[str]) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler)
    told = Path(sys.argv[1])
    told.with_suffix(".new").write_text(json.dumps({"pid": os.getpid(), "port": server.server_port}))
    told.with_suffix(".new").rename(told)
    print(f"audit service: listening on 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
