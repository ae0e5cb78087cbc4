"""What a client may take of a server: bytes of headers, time, connections; and what is told of those who took more."""

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubernaut.ops.http import connections, limits, protocol
from kubernaut.ops.http.connections import ConnectionTable
from kubernaut.ops.http.limits import HttpLimits, available_connections
from kubernaut.ops.http.problems import application, json_response
from kubernaut.ops.http.server import Listen, open_server
from support.eventually import eventually
from support.logs import capture_logs

PATIENT = HttpLimits()
SHORT = 0.3
GET = b"GET /size HTTP/1.1\r\nHost: x\r\n\r\n"


class App:
    """`/size` answers the size of the body, `/large` a large one, `/held` when it is released."""

    def __init__(self) -> None:
        self.held = asyncio.Event()
        self.disconnects = 0

    async def size(self, request: Request) -> Response:
        return json_response(len(await request.body()))

    async def reject(self, _: Request) -> Response:
        return Response(status_code=413)

    async def large(self, _: Request) -> Response:
        return Response(b"x" * 2**24)

    async def wait(self, _: Request) -> Response:
        await self.held.wait()
        return json_response("released")

    def routes(self) -> list[Route]:
        return [
            Route("/size", self.size, methods=["GET", "POST"]),
            Route("/large", self.large),
            Route("/rejected", self.reject, methods=["POST"]),
            Route("/held", self.wait),
        ]


@dataclass(frozen=True)
class Edge:
    app: App
    table: ConnectionTable
    registry: CollectorRegistry
    port: int
    logs: list[dict[str, object]]

    def count(self, reason: str) -> float:
        return self.registry.get_sample_value("kubernaut_http_requests_rejected_total", {"reason": reason}) or 0.0

    def lines(self) -> list[dict[str, object]]:
        return [line for line in self.logs if line["event"] == "request rejected"]

    @asynccontextmanager
    async def client(self) -> AsyncIterator["Client"]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@dataclass(frozen=True)
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def status(self) -> int:
        """The status of the next response, whose body is read too."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await self.reader.readexactly(int(length.partition(b":")[2]))
        return int(head.split()[1])

    async def closed(self) -> bytes:
        """Whatever came before the server closed the connection."""
        try:
            return await asyncio.wait_for(self.reader.read(), 10)
        except ConnectionResetError:
            return b""


@asynccontextmanager
async def open_edge(**changes: float) -> AsyncIterator[Edge]:
    app, registry = App(), CollectorRegistry()
    table = ConnectionTable(replace(PATIENT, **changes), registry)
    with capture_logs() as logs:
        async with open_server(application(app.routes()), Listen(), table=table, shutdown_timeout=1) as server:
            try:
                yield Edge(app, table, registry, server.port, logs)
            finally:
                app.held.set()


@pytest.mark.parametrize(
    "headers",
    [
        b"x: " + b"a" * 20_000,
        b"".join(b"x%d: a\r\n" % number for number in range(102)),
        b"x: " + b"a" * 16_000 + b"\r\ny: " + b"a" * 16_000 + b"\r\n\r\n",
    ],
    ids=["endless", "many", "complete"],
)
async def test_a_header_section_above_the_limit_is_answered_with_431_and_closed(headers):
    async with open_edge() as edge, edge.client() as client:
        client.send(b"GET /size HTTP/1.1\r\n" + headers)

        answer = await client.closed()
        assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
        assert b"problems/request-header-fields-too-large" in answer
        assert edge.count("request-header-fields-too-large") == 1


async def test_a_request_target_above_the_limit_is_answered_with_431():
    async with open_edge() as edge, edge.client() as client:
        client.send(b"GET /size?" + b"q" * 20_000)

        assert (await client.closed()).startswith(b"HTTP/1.1 431 ")


async def test_a_header_section_at_the_limit_is_served():
    path, name = b"/size", b"x"
    padding = 16 * 1024 - len(path) - len(name) - 4
    for more, expected in ((0, 200), (1, 431)):
        async with open_edge() as edge, edge.client() as client:
            client.send(b"GET " + path + b" HTTP/1.1\r\nx: " + b"a" * (padding + more) + b"\r\n\r\n")

            assert await client.status() == expected


async def test_endless_trailers_of_a_body_are_headers_too():
    async with open_edge() as edge, edge.client() as client:
        client.send(b"POST /size HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx: " + b"a" * 40_000)

        assert (await client.closed()).startswith(b"HTTP/1.1 431 ")


async def test_bodies_are_not_limited_by_the_header_limit():
    async with open_edge() as edge, edge.client() as client:
        client.send(b"POST /size HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000)
        assert await client.status() == 200

        client.send(
            b"POST /size HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n"
        )
        assert await client.status() == 200


async def test_a_client_that_still_sends_its_body_sees_that_it_was_rejected():
    async with open_edge() as edge, edge.client() as client:
        client.send(b"POST /rejected HTTP/1.1\r\nContent-Length: 50000000\r\n\r\n" + b"x" * 50_000_000)
        await client.writer.drain()
        assert await client.status() == 413

        client.send(GET)
        assert await client.status() == 200


async def test_a_rejected_body_that_does_not_end_in_time_is_cut_off_without_another_answer():
    async with open_edge(body_timeout=SHORT) as edge, edge.client() as client:
        client.send(b"POST /rejected HTTP/1.1\r\nContent-Length: 50000000\r\n\r\n")
        assert await client.status() == 413

        assert await client.closed() == b""


async def test_a_header_section_that_does_not_end_in_time_is_answered_with_408():
    async with open_edge(header_timeout=SHORT) as edge, edge.client() as client:
        client.send(b"GET /size HTTP/1.1\r\nx: ")

        assert (await client.closed()).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert edge.count("request-timeout") == 1


async def test_a_body_that_does_not_end_in_time_is_answered_with_408_once():
    async with open_edge(body_timeout=SHORT) as edge, edge.client() as client:
        client.send(b"POST /size HTTP/1.1\r\nContent-Length: 10\r\n\r\nx")

        answer = await client.closed()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert answer.count(b"HTTP/1.1") == 1
        (line,) = edge.lines()
        assert (line["reason"], line["status"], line["method"], line["path"]) == (
            "request-timeout",
            408,
            "POST",
            "/size",
        )


async def test_bytes_that_trickle_in_do_not_extend_the_time():
    async with open_edge(header_timeout=SHORT) as edge, edge.client() as client:

        async def trickle() -> None:
            client.send(b"GET /size HTTP/1.1\r\nx: ")
            while True:
                client.send(b"y")
                await asyncio.sleep(SHORT / 10)

        trickling = asyncio.create_task(trickle())
        answer = await client.closed()
        trickling.cancel()

        assert b"408 Request Timeout" in answer


@pytest.mark.parametrize("first", [b"", b"\r\n"], ids=["silent", "empty lines"])
async def test_a_connection_without_a_request_is_closed_without_an_answer(first):
    async with open_edge(header_timeout=SHORT) as edge, edge.client() as client:
        client.send(first)

        assert await client.closed() == b""
        assert edge.lines() == []


async def test_an_idle_connection_is_closed_after_the_keep_alive_timeout():
    async with open_edge(keep_alive_timeout=SHORT) as edge, edge.client() as client:
        for _ in range(3):
            client.send(GET)
            assert await client.status() == 200

        assert await client.closed() == b""
        assert edge.table.open_count == 0


async def test_a_request_that_is_being_served_has_no_time_limit():
    short = {"header_timeout": SHORT, "body_timeout": SHORT, "keep_alive_timeout": SHORT}
    async with open_edge(**short) as edge, edge.client() as client, edge.client() as other:
        client.send(b"GET /held HTTP/1.1\r\n\r\n")
        await other.closed()
        edge.app.held.set()

        assert await client.status() == 200


async def test_a_client_that_does_not_read_its_response_is_cut_off():
    async with open_edge(write_timeout=SHORT) as edge, edge.client() as client:
        client.send(b"GET /large HTTP/1.1\r\n\r\n")

        await eventually(lambda: edge.count("response-not-read") == 1)
        await eventually(lambda: edge.table.open_count == 0)


async def test_of_too_many_unread_bytes_those_that_wait_longest_are_dropped(monkeypatch):
    monkeypatch.setattr(connections, "MAX_UNREAD_SIZE", 2**24)
    async with open_edge() as edge, edge.client() as first, edge.client() as second:
        for client in (first, second):
            client.send(b"GET /large HTTP/1.1\r\n\r\n")
            await eventually(lambda: edge.table.unread_size > 2**20)

        await eventually(lambda: edge.count("response-not-read") == 1)
        assert await second.status() == 200


async def test_a_response_that_closes_the_connection_does_not_wait_for_ever_to_be_read():
    async with open_edge(write_timeout=SHORT) as edge, edge.client() as client:
        client.send(b"GET /large HTTP/1.1\r\nConnection: close\r\n\r\n")

        await eventually(lambda: edge.table.open_count == 0)


async def test_pipelined_requests_are_answered_in_order():
    async with open_edge() as edge, edge.client() as client:
        client.send(b"GET /held HTTP/1.1\r\n\r\n" + GET * protocol.MAX_PIPELINED)
        await eventually(lambda: edge.table.open_count == 1)
        edge.app.held.set()

        assert [await client.status() for _ in range(protocol.MAX_PIPELINED + 1)] == [200] * 17


async def test_too_many_pipelined_requests_close_the_connection():
    async with open_edge() as edge, edge.client() as client:
        client.send(b"GET /held HTTP/1.1\r\n\r\n" + GET * 10_000)

        assert await client.closed() == b""
        assert edge.count("too-many-pipelined-requests") == 1


async def test_a_malformed_request_is_a_problem_and_logged():
    async with open_edge() as edge, edge.client() as client:
        client.send(b"NONSENSE\r\n\r\n")

        answer = await client.closed()
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"application/problem+json" in answer
        (line,) = edge.lines()
        assert (line["reason"], line["status"]) == ("malformed-request", 400)


@pytest.mark.parametrize("target", ["/%ff", "/a%C3", "/%ed%a0%80", "/?id=%fe", "/?%80=1"])
async def test_a_target_that_is_no_utf8_is_refused_and_never_replaced(target: str):
    async with open_edge() as edge, edge.client() as client:
        client.send(b"GET %s HTTP/1.1\r\n\r\n" % target.encode())

        answer = await client.closed()
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"application/problem+json" in answer


@pytest.mark.parametrize("target", ["/s%69ze", "/size?id=%C3%BC%f0%9f%9a%80", "/size?%", "/size?%zz=%00"])
async def test_a_target_that_is_utf8_reaches_the_application(target: str):
    async with open_edge() as edge, edge.client() as client:
        client.send(b"GET %s HTTP/1.1\r\n\r\n" % target.encode())

        assert await client.status() == 200


async def test_above_the_limit_of_connections_the_one_that_waited_longest_is_closed():
    async with open_edge(max_connections=10) as edge, contextlib.AsyncExitStack() as stack:
        waiting = [await stack.enter_async_context(edge.client()) for _ in range(10)]
        await eventually(lambda: edge.table.open_count == 10)
        waiting[0].send(GET)
        assert await waiting[0].status() == 200

        async with edge.client() as client:
            client.send(GET)
            assert await client.status() == 200

        assert await waiting[1].closed() == b""
        waiting[0].send(GET)
        assert await waiting[0].status() == 200
        assert edge.count("too-many-connections") == 1


async def test_when_every_connection_is_being_served_a_new_one_is_answered_with_503():
    async with open_edge(max_connections=10) as edge, contextlib.AsyncExitStack() as stack:
        served = [await stack.enter_async_context(edge.client()) for _ in range(10)]
        for client in served:
            client.send(b"GET /held HTTP/1.1\r\n\r\n")
        await eventually(lambda: len(edge.table._waiting) == 0)

        async with edge.client() as client:
            answer = await client.closed()
        edge.app.held.set()

        assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"retry-after: 1\r\n" in answer
        assert [await client.status() for client in served] == [200] * 10


async def test_upgrade_requests_are_served_as_plain_ones():
    async with open_edge() as edge, edge.client() as client:
        client.send(b"GET /size HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")

        assert await client.status() == 200


async def test_a_client_that_leaves_in_its_body_is_logged_as_disconnected():
    async with open_edge() as edge:
        async with edge.client() as client:
            client.send(b"POST /size HTTP/1.1\r\nContent-Length: 10\r\n\r\nx")
            await eventually(lambda: edge.table.open_count == 1)

        await eventually(lambda: edge.count("client-disconnected") == 1)


async def test_server_ends_although_a_client_holds_its_connection():
    async with asyncio.timeout(10):
        async with open_edge() as edge:
            reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
            writer.write(b"GET /held HTTP/1.1\r\n\r\nPOST /size HTTP/1.1\r\n")
        await reader.read()
        writer.close()


def test_connections_leave_room_for_the_files_of_the_service(monkeypatch):
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, values: set_to.append(values))

    def available(soft: int, hard: int) -> int:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
        return available_connections(HttpLimits(max_connections=1000))

    assert available(20_000, 20_000) == 1000
    assert set_to == []
    assert available(1024, 4096) == 1000
    assert set_to == [(1000 + limits.RESERVED_DESCRIPTORS, 4096)]
    assert available(1024, 1024) == 1024 - limits.RESERVED_DESCRIPTORS
    assert available(100, 100) == 50
    assert available(resource.RLIM_INFINITY, resource.RLIM_INFINITY) == 1000
