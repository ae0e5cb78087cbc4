"""A span for each request of an application."""

from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kubernaut.ops.tracing import request_span

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer


class TracingMiddleware:
    """A span for each request, in the trace that its `traceparent` names; the route is its name once it is known."""

    def __init__(self, app: ASGIApp, tracer: "Tracer") -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wanted = {b"traceparent", b"tracestate"}
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in wanted}
        with request_span(self._tracer, scope["method"], scope["path"], headers) as span:

            async def observe(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                await send(message)

            try:
                await self._app(scope, receive, observe)
            finally:
                if path := getattr(scope.get("route"), "path", None):
                    span.update_name(f"{scope['method']} {path}")
                    span.set_attribute("http.route", path)
