"""A server tells its port, drains, and refuses a port that is taken."""

import asyncio

import httpx2
import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from kubernaut.ops.health import Health
from kubernaut.ops.http.server import Listen, PortInUse, open_server


async def test_port_file_says_where_the_server_listens(tmp_path):
    listen = Listen(port_file=tmp_path / "port")
    async with open_server(Starlette(), listen) as server:
        assert (tmp_path / "port").read_text() == f"127.0.0.1:{server.port}\n"


async def test_a_taken_port_is_refused_with_its_address():
    async with open_server(Starlette(), Listen()) as server:
        with pytest.raises(PortInUse, match=f"127.0.0.1:{server.port}"):
            async with open_server(Starlette(), Listen(port=server.port)):
                raise AssertionError("two servers share a port")


async def test_a_request_in_flight_is_answered_before_the_server_ends():
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(_):
        entered.set()
        await leave.wait()
        return PlainTextResponse("done")

    async with httpx2.AsyncClient(trust_env=False) as client:
        async with open_server(Starlette(routes=[Route("/", slow)]), Listen()) as server:
            answer = asyncio.create_task(client.get(server.url))
            await entered.wait()
            asyncio.get_running_loop().call_later(0.05, leave.set)

        assert (await answer).text == "done"


async def test_readiness_names_the_failing_check_and_ends_at_shutdown():
    async def broken():
        return "database_unreachable"

    async def stuck():
        await asyncio.Event().wait()

    health = Health({"database": broken, "stuck": stuck}, timeout=0.05)
    app = Starlette(routes=health.routes(CollectorRegistry()))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        ready = await client.get("/readyz")
        health.is_stopping = True
        stopping = await client.get("/health/ready")
        alive = await client.get("/livez")

    assert ready.status_code == 503
    assert ready.json()["checks"] == {"database": "database_unreachable", "stuck": "timed_out"}
    assert stopping.json()["reason"] == "shutting_down"
    assert alive.status_code == 200
