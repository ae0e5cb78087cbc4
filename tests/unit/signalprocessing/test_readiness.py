"""What readiness says is wrong."""

import asyncio
from dataclasses import dataclass, field

import httpx2
import pytest
from prometheus_client import CollectorRegistry

from kubernaut.kube.objects import Key
from kubernaut.kube.reachability import Reachability
from kubernaut.signalprocessing.config import ControllerConfig
from kubernaut.signalprocessing.readiness import ReadinessProbe, open_health_server, open_readiness_probe
from support.eventually import eventually
from support.logs import capture_logs

CONFIG = ControllerConfig(metrics_addr="127.0.0.1:0", health_probe_addr="127.0.0.1:0")


@dataclass
class FakeCache:
    name: str
    synced: asyncio.Event = field(default_factory=asyncio.Event)


async def answer(reachability: Reachability, caches: list[FakeCache], overdue: list[Key] | None = None) -> dict:
    probe = ReadinessProbe()
    probe._note(None, "", "")
    serving = open_health_server(CONFIG, CollectorRegistry(), caches, probe, lambda: overdue or [], {}, reachability)
    async with serving as server, httpx2.AsyncClient() as http:
        return (await http.get(f"{server.url}/readyz")).json()


async def test_api_server_that_is_away_is_named_before_the_caches_that_wait_for_it():
    reachability = Reachability()
    reachability.failed("pods", "refused")

    body = await answer(reachability, [FakeCache("pods")])

    assert body["reason"].startswith("api_server_unreachable_since_2")
    assert body["checks"]["caches"] == "caches_not_synced:pods"


async def test_api_server_that_went_away_later_makes_it_not_ready():
    reachability, cache = Reachability(), FakeCache("pods")
    cache.synced.set()
    assert (await answer(reachability, [cache]))["status"] == "ready"
    reachability.failed("pods", "refused")

    assert (await answer(reachability, [cache]))["status"] == "not_ready"


async def test_list_that_is_rejected_is_named():
    reachability = Reachability()
    reachability.rejected("signalprocessings.kubernaut.ai in home", "forbidden")
    caches = [FakeCache("pods"), FakeCache("signalprocessings.kubernaut.ai in home")]

    body = await answer(reachability, caches)

    assert body["reason"] == "api_server_rejects_list_of:signalprocessings.kubernaut.ai_in_home"


async def test_many_caches_are_named_in_short():
    body = await answer(Reachability(), [FakeCache(f"kind{number}") for number in range(9)])

    assert body["reason"] == "caches_not_synced:kind0,kind1,kind2_and_6_more"


async def test_overdue_reconcile_is_named():
    body = await answer(Reachability(), [], [Key("home", "sp-1")])

    assert body["reason"] == "reconcile_exceeds_time_limit:home/sp-1"


@pytest.mark.parametrize("times", [1, 5])
def test_datastorage_that_is_away_is_one_line(times: int):
    probe = ReadinessProbe()
    with capture_logs() as logs:
        for _ in range(times):
            probe._note("datastorage_unreachable", "http://store:8080/readyz", "refused")
        probe._note(None, "http://store:8080/readyz", "")

    assert [line["event"] for line in logs] == ["DataStorage not ready, audit events wait on disk", "DataStorage ready"]
    assert logs[0]["url"] == "http://store:8080/readyz"


@pytest.mark.parametrize(
    "bytes_of_a_proxy",
    [
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nxyz",
        b"HTTP/1.1 502 X\r\nset-cookie: \xff=1\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + bytes(2**21),
        b"<html></html>",
    ],
)
async def test_whatever_a_proxy_answers_the_probe_goes_on(bytes_of_a_proxy: bytes):
    requests = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        requests += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(bytes_of_a_proxy if requests <= 2 else b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/readyz"
        async with open_readiness_probe(url, tls=False) as probe:

            async def is_ready() -> bool:
                return requests > 2 and await probe.check() is None

            await eventually(is_ready)
