"""Every rejected request leaves a line and a count, and a flood of them leaves few lines."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from kubernaut.api.problems import Slug
from kubernaut.ops.health import Health
from kubernaut.ops.http.access_log import AccessLog, AccessLogMiddleware, RejectedRequest, printable
from kubernaut.ops.http.problems import RequestRejected, application, problem_response
from support.logs import capture_logs


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def served(_: Request) -> Response:
    return PlainTextResponse("fine")


async def plain(_: Request) -> Response:
    return Response(status_code=418)


async def unavailable(request: Request) -> Response:
    rejected = RequestRejected(Slug.UNAVAILABLE, "try again")
    return problem_response(request, rejected, cause=OSError("db-1 refused"))


async def broken(_: Request) -> Response:
    raise LookupError("gone")


async def closed() -> str:
    return "database_unreachable"


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    routes = [Route("/", served), Route("/plain", plain), Route("/down", unavailable), Route("/broken", broken)]
    health = Health({"database": closed})
    app = AccessLogMiddleware(application([*routes, *health.routes()]), AccessLog(CollectorRegistry(), max_lines=10))
    transport = httpx2.ASGITransport(app=app, client=("10.1.2.3", 4711))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as opened:
        yield opened


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/nothing?token=secret", {"reason": "not-found", "status": 404, "path": "/nothing", "log_level": "info"}),
        ("/a%0Ab%1b[31m", {"reason": "not-found", "status": 404, "path": "/a%0Ab%1b[31m", "log_level": "info"}),
        ("/plain", {"reason": "status-418", "status": 418, "path": "/plain", "log_level": "info"}),
        (
            "/down",
            {
                "reason": "service-unavailable",
                "status": 503,
                "path": "/down",
                "log_level": "warning",
                "cause": "db-1 refused",
            },
        ),
        (
            "/readyz",
            {
                "reason": "not-ready",
                "status": 503,
                "path": "/readyz",
                "log_level": "warning",
                "cause": "database: database_unreachable",
            },
        ),
    ],
)
async def test_a_rejected_request_leaves_one_line(client, path, expected):
    with capture_logs() as logs:
        response = await client.get(path)

    assert response.status_code == expected["status"]
    assert logs == [{"event": "request rejected", "method": "GET", "client": "10.1.2.3:4711", **expected}]


async def test_an_unexpected_error_is_logged_with_its_reason_and_once_as_rejected(client):
    with capture_logs() as logs:
        response = await client.get("/broken")

    assert response.status_code == 500
    assert [line["event"] for line in logs] == ["request failed", "request rejected"]
    assert logs[0]["error"] == "LookupError('gone')"


async def test_a_served_request_leaves_none(client):
    with capture_logs() as logs:
        await client.get("/")

    assert logs == []


def test_a_flood_leaves_few_lines_and_all_counts():
    clock, registry = Clock(), CollectorRegistry()
    access_log = AccessLog(registry, max_lines=3, clock=clock)

    with capture_logs() as logs:
        for _ in range(1000):
            access_log.rejected(RejectedRequest(reason="not-found", status=404, client="x"))
        access_log.flush()
        clock.now = 1.0
        access_log.flush()
        access_log.flush()
        access_log.rejected(RejectedRequest(reason="conflict", status=409, client="x"))

    assert [line["event"] for line in logs] == [
        *["request rejected"] * 3,
        "rejected requests not logged",
        "request rejected",
    ]
    assert (logs[3]["count"], logs[3]["by_reason"]) == (997, {"not-found": 997})
    assert registry.get_sample_value("kubernaut_http_requests_rejected_total", {"reason": "not-found"}) == 1000


def test_a_path_in_a_log_line_is_short_and_printable():
    assert printable(b"/a\x1b[31m\xff\n?token=secret") == "/a\\x1b[31m\\xff\\n"
    assert printable(b"/" + b"x" * 300) == "/" + "x" * 199 + "…"
