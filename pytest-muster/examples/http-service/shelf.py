"""The service under test: notes over HTTP, a SQLite file for each tenant.

    python shelf.py --port 8080 --data DIR

PUT /TENANT creates a tenant, DELETE /TENANT removes it, POST /TENANT/notes adds a note, GET /TENANT/notes lists them,
and GET /ready answers when the service works.
"""

import argparse
import json
import os
import re
import sqlite3
import sys
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Notes:
    """The notes of all tenants."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def create(self, tenant: str) -> None:
        with closing(sqlite3.connect(self._file(tenant))) as database, database:
            database.execute("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")

    def remove(self, tenant: str) -> None:
        self._file(tenant).unlink(missing_ok=True)

    def add(self, tenant: str, text: str) -> int:
        with closing(self._open(tenant)) as database, database:
            return database.execute("INSERT INTO notes (text) VALUES (?)", [text]).lastrowid or 0

    def all(self, tenant: str) -> list[str]:
        with closing(self._open(tenant)) as database:
            return [text for (text,) in database.execute("SELECT text FROM notes ORDER BY id")]

    def _open(self, tenant: str) -> sqlite3.Connection:
        if not self._file(tenant).exists():
            raise LookupError(tenant)
        return sqlite3.connect(self._file(tenant))

    def _file(self, tenant: str) -> Path:
        return self.directory / f"{tenant}.sqlite"


class Handler(BaseHTTPRequestHandler):
    notes: Notes

    def do_GET(self) -> None:
        if self.path == "/ready":
            self._answer(200, {"ready": True})
        else:
            self._for_tenant(lambda tenant: (200, self.notes.all(tenant)))

    def do_PUT(self) -> None:
        self._for_tenant(lambda tenant: (201, self.notes.create(tenant)))

    def do_DELETE(self) -> None:
        self._for_tenant(lambda tenant: (200, self.notes.remove(tenant)))

    def do_POST(self) -> None:
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"]
        self._for_tenant(lambda tenant: (201, {"id": self.notes.add(tenant, text)}))

    def _for_tenant(self, act) -> None:
        found = re.fullmatch(r"/([a-z0-9-]{1,63})(/notes)?", self.path)
        try:
            self._answer(*act(found[1]) if found else (404, {"error": "no such path"}))
        except LookupError as error:
            self._answer(404, {"error": f"no tenant {error}"})

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True)
    chosen = parser.parse_args()
    if os.environ.get("SHELF_LICENCE") == "expired":
        sys.exit("shelf: the licence has expired")
    time.sleep(0.3)  # a real service takes a while
    Handler.notes = Notes(chosen.data)
    with ThreadingHTTPServer(("127.0.0.1", chosen.port), Handler) as server:
        print(f"shelf: listening on {chosen.port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
