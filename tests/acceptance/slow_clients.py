"""Clients that open connections and then misuse them: `slow_clients.py HOST PORT CONNECTIONS METHOD PATH`.

It ends when the service has closed all of them.
"""

import asyncio
import itertools
import resource
import socket
import sys
from functools import partial

BURST = 200
"""Connections that are opened at the same time."""

PACE = 0.3
"""Seconds between two writes of a slow client."""


class SlowClient(asyncio.Protocol):
    """A connection that is misused in one way, until the service closes it."""

    def __init__(self, kind: str, request: bytes) -> None:
        self.kind = kind
        self.request = request
        self.is_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        match self.kind:
            case "silent":
                return
            case "never reads":
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                transport.pause_reading()
                self.send_more()
            case "slow body":
                transport.write(self.request + b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
            case _:
                transport.write(self.request)

    def send_more(self) -> None:
        """Send a little more."""
        if self.is_closed or self.transport.is_closing():
            return
        match self.kind:
            case "endless header":
                self.transport.write(b"x: " + b"a" * 8000 + b"\r\n")
            case "slow header" | "slow body":
                self.transport.write(b"x")
            case "never reads":
                self.transport.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 10)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True


KINDS = ("silent", "endless header", "slow header", "slow body", "never reads")


async def attack(host: str, port: int, connections: int, request: bytes) -> None:
    loop = asyncio.get_running_loop()
    clients: list[SlowClient] = []
    for _ in range(connections // BURST):
        connecting = [
            loop.create_connection(partial(SlowClient, kind, request), host, port)
            for kind in itertools.islice(itertools.cycle(KINDS), BURST)
        ]
        clients += [client for _, client in await asyncio.gather(*connecting)]
    while open_clients := [client for client in clients if not client.is_closed]:
        for client in open_clients:
            client.send_more()
        await asyncio.sleep(PACE)


def main() -> None:
    host, port, connections, method, path = sys.argv[1:]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    request = f"{method} {path} HTTP/1.1\r\nHost: x\r\n".encode()
    asyncio.run(attack(host, int(port), int(connections), request))


if __name__ == "__main__":
    main()
