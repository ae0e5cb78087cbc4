"""A proxy in front of an API server that answers as a server in trouble does, for the faults of a history.

It also notes who wrote when.
"""

import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp
import yaml
from aiohttp import web

_HOP_BY_HOP = {"host", "connection", "content-length", "transfer-encoding", "keep-alive"}
_READS = {"GET", "HEAD", "OPTIONS"}


class Write(NamedTuple):
    """A request that changes something."""

    at: float  # by time.monotonic
    user_agent: str
    path: str


class ApiProxy:
    """What it does to requests at the moment; everything is passed on at first."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession, rng: random.Random) -> None:
        self.forbidden: set[str] = set()
        """Parts of paths that are answered with 403; `status` stands for status updates."""
        self.statuses: list[int] = []
        """429 and 500: the answers that half of the requests get."""
        self.has_conflicts = False
        """Whether most status updates conflict."""
        self.is_silent = False
        """Whether watches stay open and tell nothing."""
        self.writes: list[Write] = []
        """All that came, whatever the answer."""
        self._upstream = upstream
        self._session = session
        self._rng = rng
        self._watches: dict[web.StreamResponse, web.Request] = {}
        self._expired: set[str] = set()

    def cut_watches(self) -> None:
        """Break every watch that is open."""
        for request in self._watches.values():
            if request.transport is not None:
                request.transport.abort()

    def expire_watches(self) -> None:
        """Break every watch, and tell whoever resumes one that its resourceVersion has expired."""
        self._expired |= {request.path for request in self._watches.values()}
        self.cut_watches()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        if request.method not in _READS:
            self.writes.append(Write(time.monotonic(), request.headers.get("user-agent", ""), request.path))
        if (rejection := self._rejection(request)) is not None:
            return rejection
        is_watch = request.query.get("watch") == "true"
        if is_watch and request.path in self._expired:
            self._expired.discard(request.path)
            return _status(410, "Expired")
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        url = f"{self._upstream}{request.raw_path}"
        body = await request.read()
        try:
            async with self._session.request(request.method, url, data=body or None, headers=headers) as answer:
                if is_watch and answer.status == 200:
                    return await self._pass_watch(request, answer)
                content = await answer.read()
        except aiohttp.ClientError:
            # As when the server itself had gone: no answer at all.
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=502)
        kept = {
            name: value for name, value in answer.headers.items() if name.lower() in ("content-type", "retry-after")
        }
        return web.Response(status=answer.status, body=content, headers=kept)

    def _rejection(self, request: web.Request) -> web.Response | None:
        path, is_status_update = request.path, request.path.endswith("/status")
        for part in self.forbidden:
            if (part == "status" and is_status_update) or f"/{part}" in path:
                return _status(403, "Forbidden")
        if self.statuses and self._rng.random() < 0.5:
            code = self._rng.choice(self.statuses)
            return _status(code, "TooManyRequests" if code == 429 else "InternalError")
        if self.has_conflicts and is_status_update and self._rng.random() < 0.8:
            return _status(409, "Conflict")
        return None

    async def _pass_watch(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        self._watches[response] = request
        try:
            has_lost = False
            async for part in answer.content.iter_any():
                if self.is_silent:
                    has_lost = True
                elif has_lost:
                    # Half a line, or a gap, is what no server sends: the connection is as good as dead.
                    if request.transport is not None:
                        request.transport.abort()
                    return response
                else:
                    await response.write(part)
        except (aiohttp.ClientError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            del self._watches[response]
        return response


def _status(code: int, reason: str) -> web.Response:
    headers = {"retry-after": "1"} if code == 429 else {}
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
    return web.Response(
        status=code,
        body=json.dumps(body | {"message": f"{reason} by a fault"}),
        headers=headers,
        content_type="application/json",
    )


@asynccontextmanager
async def open_api_proxy(kubeconfig: Path, written: Path, rng: random.Random) -> AsyncIterator[ApiProxy]:
    """A proxy of the API server of one kubeconfig; `written` becomes the same kubeconfig with the proxy's address."""
    config = yaml.safe_load(kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    parts = urlsplit(cluster["server"])
    if parts.scheme != "http":
        raise RuntimeError("faults of requests need the embedded API server, which speaks plain HTTP")
    limits = aiohttp.ClientTimeout(total=None, sock_connect=2)
    async with aiohttp.ClientSession(timeout=limits, connector=aiohttp.TCPConnector(limit=0)) as session:
        proxy = ApiProxy(f"http://{parts.netloc}", session, rng)
        runner = web.AppRunner(_application(proxy), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            cluster["server"] = parts._replace(netloc=f"127.0.0.1:{port}").geturl()
            written.write_text(yaml.safe_dump(config))
            yield proxy
        finally:
            with suppress(TimeoutError):
                await runner.cleanup()


def _application(proxy: ApiProxy) -> web.Application:
    application = web.Application(client_max_size=2**26)
    application.router.add_route("*", "/{path:.*}", proxy.handle)
    return application
