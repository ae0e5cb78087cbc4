"""An API server that responds as a test scripts it, over real HTTP: idle, with broken lines, with errors.

A real server does none of these on demand. Everything else is tested against real servers.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Call:
    """One request, and the connection of its response."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    writer: asyncio.StreamWriter = field(repr=False)

    @property
    def is_watch(self) -> bool:
        return self.query.get("watch") == "true"

    async def respond(self, body: object, status: int = 200, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = {"content-type": "application/json", "content-length": str(len(content)), **headers}
        lines = [f"HTTP/1.1 {status} X", *(f"{name.replace('_', '-')}: {value}" for name, value in head.items())]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
        await self.writer.drain()

    async def reject(self, code: int, reason: str = "", message: str = "rejected", **headers: str) -> None:
        status = {"kind": "Status", "code": code, "reason": reason, "message": message}
        await self.respond(status, code, **headers)

    async def open_watch(self) -> None:
        self.writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        await self.writer.drain()

    async def send(self, type: str, obj: object) -> None:
        await self.send_raw(json.dumps({"type": type, "object": obj}).encode() + b"\n")

    async def send_raw(self, data: bytes) -> None:
        self.writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await self.writer.drain()

    async def end_watch(self) -> None:
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def stay_idle(self) -> None:
        """Send nothing until the client disconnects or the test ends."""
        await asyncio.Event().wait()

    def abort(self) -> None:
        self.writer.transport.abort()


Script = Callable[[Call], Awaitable[None]]


@asynccontextmanager
async def open_scripted_api(script: Script, directory: Path) -> AsyncIterator[Path]:
    """Serve the script until the block ends; gives the path of a kubeconfig for it."""
    running: set[asyncio.Task[Any]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            while not writer.is_closing():
                await script(await _read(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            running.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    kubeconfig = directory / f"kubeconfig-{port}"
    kubeconfig.write_text(
        json.dumps(
            {
                "current-context": "test",
                "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "contexts": [{"name": "test", "context": {"cluster": "test"}}],
                "users": [],
            }
        )
    )
    try:
        yield kubeconfig
    finally:
        server.close()
        for task in [*running]:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Call:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    url = urlsplit(target)
    return Call(method, url.path, dict(parse_qsl(url.query)), headers, body, writer)


def a_listing(*objects: object, version: str = "1", token: str = "") -> dict[str, Any]:
    """A list of objects as a server answers it."""
    return {"metadata": {"resourceVersion": version, "continue": token}, "items": list(objects)}


def an_object(name: str = "a", version: str = "1", uid: str = "", namespace: str = "shop") -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "uid": uid or f"uid-{name}", "resourceVersion": version}
    return {"metadata": metadata}
