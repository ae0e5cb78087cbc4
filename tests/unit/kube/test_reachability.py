"""Many watches of one server, one outage."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kubernaut.kube.client import ClientConfig, open_client
from kubernaut.kube.informer import Informer, InformerConfig, open_informers
from kubernaut.kube.objects import Kind, PartialObjectMetadata
from kubernaut.kube.reachability import Reachability
from kubernaut.kube.watch import WatchConfig
from kubernaut.ops.backoff import Backoff
from support.eventually import eventually
from support.logs import capture_logs
from support.scripted_api import Call, a_listing, open_scripted_api

QUICK = InformerConfig(watch=WatchConfig(backoff=Backoff(initial_delay=0.01, max_delay=0.02)))
KINDS = [
    Kind(version="v1", kind=name.capitalize(), plural=f"{name}s", type=PartialObjectMetadata)
    for name in ("pod", "node", "service", "secret")
]


def lines(logs: list) -> list[str]:
    return [line["event"] for line in logs if line["log_level"] in ("info", "warning", "error")]


def test_outage_lasts_until_the_last_of_those_that_failed_has_an_answer():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    reachability = Reachability(lambda: now)
    with capture_logs() as logs:
        for source in ("pods", "nodes", "pods"):
            reachability.failed(source, "refused")
            now += timedelta(seconds=1)
        reachability.heard("services")
        reachability.heard("pods")
        assert reachability.since == datetime(2026, 1, 1, tzinfo=UTC)
        reachability.heard("nodes")

    assert reachability.since is None
    assert [(line["event"], line.get("seconds")) for line in logs] == [
        ("API server unreachable", None),
        ("API server reachable again", 3.0),
    ]


def test_rejection_is_no_outage_and_is_logged_once():
    reachability = Reachability()
    with capture_logs() as logs:
        reachability.rejected("pods", "forbidden")
        reachability.rejected("pods", "forbidden")
        assert (reachability.since, reachability.rejections) == (None, {"pods": "forbidden"})
        reachability.heard("pods")

    assert lines(logs) == ["list or watch rejected, retrying", "list or watch accepted again"]
    assert reachability.silence("pods") < 1 < reachability.silence("nodes")


async def test_outage_of_many_caches_is_two_lines_and_their_staleness_grows(tmp_path: Path):
    is_down = False
    watching: list[Call] = []

    async def script(call: Call) -> None:
        if is_down:
            return call.abort()
        if not call.is_watch:
            return await call.respond(a_listing(version="5"))
        await call.open_watch()
        watching.append(call)
        return await call.stay_idle()

    async with (
        open_scripted_api(script, tmp_path) as kubeconfig,
        open_client(ClientConfig(kubeconfig=kubeconfig, timeout=1.0)) as client,
    ):
        caches = [Informer(client, kind, QUICK) for kind in KINDS]
        with capture_logs() as logs:
            async with open_informers(*caches):
                await asyncio.gather(*(cache.synced.wait() for cache in caches))
                await eventually(lambda: len(watching) == len(KINDS))
                before = [cache.staleness for cache in caches]
                is_down = True
                for call in watching:
                    call.abort()
                await eventually(lambda: client.reachability.since is not None)
                await eventually(lambda: all(c.staleness > b + 0.3 for c, b in zip(caches, before, strict=True)))
                is_down = False
                await eventually(lambda: client.reachability.since is None)

    assert [line for line in lines(logs) if line != "cache synced"] == [
        "API server unreachable",
        "API server reachable again",
    ]
