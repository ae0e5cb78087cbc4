"""Traces by OpenTelemetry, where an endpoint is given.

The library is imported only then. Until a request is traced `span` does nothing, so that code may name its steps at no
cost. What belongs to a trace follows the task, as OpenTelemetry's own context does; work that several requests share
hangs below the first of them and links to the others.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

from kubernaut.ops.settings import Between, SettingsError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

EXPORT_TIMEOUT = 10.0
"""Seconds for one request to the collector, and for the last spans at shutdown."""


@dataclass(frozen=True, kw_only=True)
class TracingConfig:
    """Where traces go; without an endpoint there are none. Needs the extra `tracing`."""

    endpoint: str = ""
    """URL of an OTLP/HTTP collector such as http://collector:4318, to which /v1/traces is appended. Empty takes
    `OTEL_EXPORTER_OTLP_ENDPOINT`."""

    sample_ratio: Annotated[float, Between(0, 1)] = 1.0
    """Share of the requests that are traced, where the sender has not decided that."""


@dataclass(frozen=True, kw_only=True)
class TraceContext:
    """The place in a trace that further spans hang below."""

    tracer: "Tracer"
    context: "Context"


_current: ContextVar[TraceContext | None] = ContextVar("trace_context", default=None)


def current() -> TraceContext | None:
    """The place in the trace of this task; None when it is not traced."""
    return _current.get()


@contextmanager
def span(name: str, **attributes: str | int) -> Iterator[None]:
    """A step of what this task does, which ends with the block."""
    with span_of([_current.get()], name, **attributes):
        yield


@contextmanager
def span_of(causes: Iterable[TraceContext | None], name: str, **attributes: str | int) -> Iterator[None]:
    """A step that serves several requests at once."""
    traced = [cause for cause in causes if cause is not None]
    if not traced:
        yield
        return
    # The library is imported only where something is traced; so everywhere below.
    from opentelemetry import trace

    parent, *others = traced
    links = [trace.Link(trace.get_current_span(other.context).get_span_context()) for other in others]
    with parent.tracer.start_as_current_span(name, parent.context, links=links, attributes=attributes) as started:
        token = _current.set(TraceContext(tracer=parent.tracer, context=trace.set_span_in_context(started)))
        try:
            yield
        finally:
            _current.reset(token)


def trace_headers() -> dict[str, str]:
    """The header fields by which another service continues the trace of this task; none when there is no trace.

    That may be the trace of an application that uses our client and OpenTelemetry.
    """
    headers: dict[str, str] = {}
    if "opentelemetry.trace" in sys.modules:
        # Lazy import, see `span_of`.
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        TraceContextTextMapPropagator().inject(headers)
    return headers


@contextmanager
def request_span(tracer: "Tracer", method: str, path: str, headers: Mapping[str, str]) -> Iterator["Span"]:
    """The span of a request that came in, in the trace that its header fields name."""
    # Lazy import, see `span_of`.
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract(headers, Context())
    attributes = {"http.request.method": method, "url.path": path}
    kind = trace.SpanKind.SERVER
    with tracer.start_as_current_span(method, context, kind=kind, attributes=attributes) as started:
        token = _current.set(TraceContext(tracer=tracer, context=trace.set_span_in_context(started)))
        try:
            yield started
        finally:
            _current.reset(token)


@asynccontextmanager
async def open_tracing(config: TracingConfig, service_name: str) -> AsyncIterator["Tracer | None"]:
    """What makes spans while the block runs; None without an endpoint. The last ones are sent at the end.

    Raises SettingsError when there is an endpoint and the library is not installed.
    """
    if not config.endpoint:
        yield None
        return
    try:
        # Lazy import, see `span_of`.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ImportError as error:
        reason = f"needs kubernaut-signalprocessing[tracing]: {error}"
        raise SettingsError("tracing.endpoint", config.endpoint, reason) from error
    resource = {"service.name": service_name, "service.version": version("kubernaut-signalprocessing")}
    provider = TracerProvider(
        resource=Resource.create(resource),
        sampler=ParentBased(TraceIdRatioBased(config.sample_ratio)),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(f"{config.endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield provider.get_tracer("kubernaut")
    finally:
        # It waits for the collector, which may be gone.
        await asyncio.to_thread(provider.shutdown)
