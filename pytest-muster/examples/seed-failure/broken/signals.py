"""What is tested: signals go through phases, an audit writer reports them, a classifier reads a mapping."""

import http.client
import json
import logging
import socket
import threading
import time
import urllib.request
from pathlib import Path

PHASES = ["pending", "enriching", "classifying", "completed"]

log = logging.getLogger("signals")


def severity(text: str) -> str:
    return {"sev1": "critical", "sev2": "warning"}.get(text.lower(), "info")


class Client:
    """Talks to the service, and does what the controller of the product does."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._watching = False

    def _ask(self, method: str, path: str, body: list[str] | None = None) -> list[str]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data=data, method=method)
        with urllib.request.urlopen(request, timeout=5) as answer:
            told: list[str] = json.load(answer)
        return told

    def create_namespace(self, name: str) -> None:
        self._ask("PUT", f"namespaces/{name}")

    def process(self, namespace: str) -> list[str]:
        """The phases through which a signal went, as the service knows them."""
        if not self._watching:
            time.sleep(3)  # the first signal waits until the watch is there, as in a cluster
            self._watching = True
        for phase in PHASES:
            self._ask("POST", f"events/{namespace}", [phase])
            time.sleep(0.2)
        return self._ask("GET", f"events/{namespace}")


def dial(host: str, port: int) -> socket.socket:
    """Prefers IPv6, as the dialer of the suite did on which this is modelled, and takes the first address only."""
    try:
        address = socket.getaddrinfo(host, port, socket.AF_INET6, socket.SOCK_STREAM)[0][4][:2]
    except socket.gaierror:  # an IPv4 address; or a machine that does not list ::1 under the name
        address = ("::1" if host == "localhost" else host, port)
    return socket.create_connection(address, timeout=5)


class AuditWriter:
    """Buffers events; a batch that cannot be written is logged and given up, so that auditing never stops work."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.buffer: list[str] = []
        self.written = 0

    def record(self, event: str) -> None:
        self.buffer.append(event)

    def flush(self, namespace: str) -> None:
        batch, self.buffer = self.buffer, []
        connection = http.client.HTTPConnection(self.host, self.port, timeout=5)
        try:
            connection.sock = dial(self.host, self.port)
            connection.request("POST", f"/events/{namespace}", json.dumps(batch))
            self.written += len(batch) if connection.getresponse().status == 201 else 0
        except OSError as error:
            log.error("Failed to write audit batch of %d: %s", len(batch), error)
        finally:
            connection.close()


class NotStarted(Exception):
    pass


class Cache:
    """Holds a copy of a mapping; filled by a thread from `start` on."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._synced = threading.Event()
        self._thread = threading.Thread(target=self._fill, daemon=True)
        self._mapping: dict[str, str] = {}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._thread.join()

    def wait(self, timeout: float) -> bool:
        """Whether the cache holds its copy; waits for that."""
        return self._synced.wait(timeout)

    def _fill(self) -> None:
        time.sleep(1)  # lists what there is
        self._mapping = dict(line.split() for line in self._file.read_text().splitlines())
        self._synced.set()

    def read(self) -> dict[str, str]:
        if not self._synced.is_set():
            raise NotStarted("the cache is not started, can not read objects")
        return self._mapping


class Classifier:
    """Maps a namespace to an environment."""

    def __init__(self, cache: Cache) -> None:
        self._mapping: dict[str, str] = {}
        try:
            self._mapping = cache.read()
        except NotStarted as error:
            log.info("mapping not loaded (will use defaults): %s", error)

    def environment(self, namespace: str) -> str:
        return self._mapping.get(namespace.partition("-")[0], "unknown")
