"""Traces of DataStorage at a real OTLP receiver."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import httpx2
import msgspec
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider

from kubernaut.api.events import AuditEvent
from kubernaut.audit import ClientConfig, open_client
from kubernaut.datastorage.service import open_service
from kubernaut.ops.tracing import TracingConfig
from support.datastorage import BATCH, JSON, config_for
from support.eventually import eventually
from support.ledger_events import a_body, a_wire_event

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


@dataclass
class Collector:
    """An OTLP/HTTP receiver that keeps what it gets."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)
    service_names: set[str] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                self.paths.add(line.split()[1].decode())
                headers = {}
                while (header := await reader.readline()) != b"\r\n":
                    name, _, value = header.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers["content-length"]))
                self.take(gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        finally:
            writer.close()

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.service_names.add(names["service.name"])
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    receiver = Collector()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    async with server:
        receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield receiver


@asynccontextmanager
async def traced(database: str, endpoint: str) -> AsyncIterator[httpx2.AsyncClient]:
    config = replace(config_for(database), tracing=TracingConfig(endpoint=endpoint))
    async with open_service(config) as server, httpx2.AsyncClient(base_url=server.url, timeout=10) as http:
        yield http


def attributes(span: Span) -> dict[str, object]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


async def test_spans_lead_from_the_sender_to_postgresql(database: str, collector: Collector):
    async with traced(database, collector.url) as http:
        headers = JSON | {"traceparent": TRACEPARENT}
        assert (await http.post(BATCH, content=a_body(), headers=headers)).status_code == 201

    (request,) = collector.named(f"POST {BATCH}")
    (append,) = collector.named("append group")
    (commit,) = collector.named("PostgreSQL commit")
    assert {span.trace_id.hex() for span in (request, append, commit)} == {TRACE}
    assert (request.parent_span_id.hex(), append.parent_span_id, commit.parent_span_id) == (
        PARENT,
        request.span_id,
        append.span_id,
    )
    assert attributes(request)["http.response.status_code"] == 201
    assert collector.paths == {"/v1/traces"}
    assert collector.service_names == {"data-storage-service"}


async def test_a_commit_for_many_requests_links_to_each(database: str, collector: Collector):
    async with traced(database, collector.url) as http:
        await asyncio.gather(*(http.post(BATCH, content=a_body(), headers=JSON) for _ in range(20)))

    commits = collector.named("PostgreSQL commit")
    served = sum(1 + len(commit.links) for commit in commits)
    assert (len(collector.named("append group")), served) == (20, 20)


async def test_sender_decides_whether_a_request_is_traced(database: str, collector: Collector):
    async with traced(database, collector.url) as http:
        headers = JSON | {"traceparent": TRACEPARENT.removesuffix("01") + "00"}
        assert (await http.post(BATCH, content=a_body(), headers=headers)).status_code == 201

    assert collector.spans == []


async def test_trace_is_no_part_of_what_is_stored(database: str, collector: Collector):
    event = a_wire_event()
    async with traced(database, collector.url) as http:
        for trace_id in (TRACE, TRACE[::-1]):
            headers = JSON | {"traceparent": f"00-{trace_id}-{PARENT}-01"}
            assert (await http.post(BATCH, content=a_body(event), headers=headers)).status_code == 201

        (stored,) = (await http.get("/api/v1/audit/events")).json()["data"]

    assert "trace_id" not in stored


async def test_audit_client_continues_the_trace_of_its_application(database: str, collector: Collector):
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("an application")
    event = msgspec.json.decode(msgspec.json.encode(a_wire_event()), type=AuditEvent)
    async with traced(database, collector.url) as http, open_client(ClientConfig(url=str(http.base_url))) as client:
        with tracer.start_as_current_span("work") as span:
            await client.send([event])

    (request,) = collector.named(f"POST {BATCH}")
    assert request.trace_id == span.get_span_context().trace_id.to_bytes(16)


async def test_collector_that_is_gone_disturbs_nothing(database: str):
    async with asyncio.timeout(30):
        async with traced(database, "http://127.0.0.1:9") as http:
            response = await http.post(BATCH, content=a_body(), headers=JSON)

            await eventually(lambda: response.status_code == 201)
