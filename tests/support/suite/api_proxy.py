"""An HTTP proxy in front of a Kubernetes API that answers or delays single requests as a spec wants it.

Faults of one request cannot be had from a real server on demand; everything else reaches the real one.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from kubernaut.kube.credentials import connection_parameters, read_config
from kubernaut.ops.http.server import Listen, open_server

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
HOP_BY_HOP = {"host", "content-length", "connection", "transfer-encoding", "accept-encoding", "content-encoding"}

Intercept = Callable[[Request], Awaitable[Response | None]]
"""The answer to a request; None lets it through."""


async def let_through(request: Request) -> Response | None:
    return None


def rejection(code: int, reason: str) -> Response:
    """What an API server answers with."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
    return JSONResponse(body | {"message": f"{reason} on behalf of a spec"}, code)


@dataclass
class ApiProxy:
    kubeconfig: Path
    """Leads to the proxy."""
    intercept: Intercept = let_through
    seen: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of each request."""


@asynccontextmanager
async def open_api_proxy(kubeconfig: Path, folder: Path) -> AsyncIterator[ApiProxy]:
    """A proxy in front of the API server of a kubeconfig, without authentication of its own."""
    proxy = ApiProxy(kubeconfig=folder / "proxy.kubeconfig")
    found = connection_parameters(read_config(kubeconfig), 10.0)
    arguments = {"base_url": found["url"], "verify": found["tls"], "auth": found["auth"]}
    async with httpx2.AsyncClient(**arguments, timeout=None) as upstream:  # a watch is open for minutes

        async def handle(request: Request) -> Response:
            proxy.seen.append((request.method, request.url.path))
            answer = await proxy.intercept(request)
            return answer or await _forward(upstream, request)

        app = Starlette(routes=[Route("/{path:path}", handle, methods=METHODS)])
        async with open_server(app, Listen(port=0), shutdown_timeout=1) as server:
            proxy.kubeconfig.write_text(_kubeconfig(server.url))
            yield proxy


async def _forward(upstream: httpx2.AsyncClient, request: Request) -> Response:
    headers = {name: value for name, value in request.headers.items() if name not in HOP_BY_HOP}
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    outgoing = upstream.build_request(request.method, target, headers=headers, content=await request.body())
    answer = await upstream.send(outgoing, stream=True)
    kept = {name: value for name, value in answer.headers.items() if name not in HOP_BY_HOP}

    async def body() -> AsyncIterator[bytes]:
        try:
            async for chunk in answer.aiter_bytes():
                yield chunk
        finally:
            await answer.aclose()

    return StreamingResponse(body(), answer.status_code, headers=kept)


def _kubeconfig(url: str) -> str:
    cluster = {"name": "proxy", "cluster": {"server": url}}
    context = {"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}
    user = {"name": "proxy", "user": {"token": "none"}}
    head = {"apiVersion": "v1", "kind": "Config", "current-context": "proxy"}
    return yaml.safe_dump(head | {"clusters": [cluster], "contexts": [context], "users": [user]})
