"""List and watch when the server is idle, expires a resourceVersion, rejects a request or sends nonsense."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.kube.client import EVERYTHING, Client, ClientConfig, open_client
from kubernaut.kube.objects import Key, Kind, PartialObjectMetadata, key_of
from kubernaut.kube.reachability import Reachability
from kubernaut.kube.watch import Delta, DeltaType, Reflector, WatchConfig, list_and_watch
from kubernaut.kube.wire import ObjectList
from kubernaut.ops.backoff import Backoff
from support.logs import capture_logs
from support.scripted_api import Call, Script, a_listing, an_object, open_scripted_api

CONFIGMAP = Kind(version="v1", kind="ConfigMap", plural="configmaps", type=PartialObjectMetadata)
QUICK = WatchConfig(idle_timeout=0.2, backoff=Backoff(initial_delay=0.01, max_delay=0.05))


@asynccontextmanager
async def watching(script: Script, directory: Path) -> AsyncIterator[AsyncIterator[Delta[PartialObjectMetadata]]]:
    async with (
        open_scripted_api(script, directory) as kubeconfig,
        open_client(ClientConfig(kubeconfig=kubeconfig, timeout=2.0)) as client,
        aclosing(list_and_watch(client, CONFIGMAP, config=QUICK)) as deltas,
    ):
        yield deltas


async def take(deltas: AsyncIterator[Delta[PartialObjectMetadata]], count: int) -> list[tuple[str, str]]:
    async with asyncio.timeout(10):
        taken = [await anext(deltas) for _ in range(count)]
    return [(delta.type.value, delta.object.metadata.name if delta.object else "") for delta in taken]


async def test_idle_watch_is_resumed_from_the_last_resource_version(tmp_path: Path):
    asked: list[str] = []

    async def script(call: Call) -> None:
        if not call.is_watch:
            return await call.respond(a_listing(an_object("a"), version="5"))
        asked.append(call.query["resourceVersion"])
        await call.open_watch()
        if len(asked) == 1:
            await call.send("ADDED", an_object("b", "8"))
            return await call.stay_idle()
        await call.send("ADDED", an_object("c", "9"))
        return await call.stay_idle()

    async with watching(script, tmp_path) as deltas:
        seen = await take(deltas, 4)

    assert seen == [("ADDED", "a"), ("SYNCED", ""), ("ADDED", "b"), ("ADDED", "c")]
    assert asked == ["5", "8"]


async def test_bookmark_moves_the_resource_version_to_resume_from(tmp_path: Path):
    asked: list[str] = []

    async def script(call: Call) -> None:
        if not call.is_watch:
            return await call.respond(a_listing(version="5"))
        asked.append(call.query["resourceVersion"])
        assert call.query["allowWatchBookmarks"] == "true"
        await call.open_watch()
        if len(asked) == 1:
            await call.send("BOOKMARK", {"metadata": {"resourceVersion": "77"}})
            return call.abort()
        await call.send("ADDED", an_object("b", "78"))
        return await call.stay_idle()

    async with watching(script, tmp_path) as deltas:
        assert await take(deltas, 2) == [("SYNCED", ""), ("ADDED", "b")]

    assert asked == ["5", "77"]


async def test_expired_resource_version_means_relist_and_report_deletions(tmp_path: Path):
    lists = [
        a_listing(an_object("a", "1"), an_object("b", "2"), an_object("c", "3"), version="5"),
        a_listing(an_object("b", "2"), an_object("c", "7"), an_object("d", "8"), version="9"),
    ]

    async def script(call: Call) -> None:
        if not call.is_watch:
            return await call.respond(lists.pop(0))
        await call.open_watch()
        if lists:
            return await call.send("ERROR", {"code": 410, "reason": "Expired", "message": "too old"})
        return await call.stay_idle()

    async with watching(script, tmp_path) as deltas:
        assert await take(deltas, 4) == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c"), ("SYNCED", "")]
        assert sorted(await take(deltas, 3)) == [("ADDED", "d"), ("DELETED", "a"), ("MODIFIED", "c")]


async def test_status_code_410_means_the_same(tmp_path: Path):
    lists = [a_listing(an_object("a"), version="5"), a_listing(version="9")]

    async def script(call: Call) -> None:
        if not call.is_watch:
            return await call.respond(lists.pop(0))
        if lists:
            return await call.reject(410, "Expired")
        await call.open_watch()
        return await call.stay_idle()

    async with watching(script, tmp_path) as deltas:
        assert await take(deltas, 3) == [("ADDED", "a"), ("SYNCED", ""), ("DELETED", "a")]


async def test_list_whose_continue_token_expired_is_fetched_in_one_piece(tmp_path: Path):
    async def script(call: Call) -> None:
        if call.is_watch:
            await call.open_watch()
            return await call.stay_idle()
        if "continue" in call.query:
            return await call.reject(410, "Expired")
        if "limit" in call.query:
            return await call.respond(a_listing(an_object("a"), version="5", token="next"))
        return await call.respond(a_listing(an_object("a"), an_object("b"), version="6"))

    async with watching(script, tmp_path) as deltas:
        assert await take(deltas, 3) == [("ADDED", "a"), ("ADDED", "b"), ("SYNCED", "")]


async def test_one_outage_is_logged_once_at_its_start_and_once_at_its_end(tmp_path: Path):
    refusals = 4

    async def script(call: Call) -> None:
        nonlocal refusals
        if not call.is_watch:
            if refusals:
                refusals -= 1
                return await call.reject(500, message="etcd is down")
            return await call.respond(a_listing(an_object("a")))
        await call.open_watch()
        await call.send("ADDED", an_object("b"))
        return await call.stay_idle()

    with capture_logs() as logs:
        async with watching(script, tmp_path) as deltas:
            await take(deltas, 3)

    lines = [(line["log_level"], line["event"]) for line in logs if line["log_level"] != "debug"]
    assert lines == [("warning", "API server unreachable"), ("info", "API server reachable again")]
    assert "etcd is down" in logs[0]["error"]


async def test_watch_that_is_closed_immediately_is_retried_with_backoff(tmp_path: Path):
    asked = 0
    enough = asyncio.Event()

    async def script(call: Call) -> None:
        nonlocal asked
        if not call.is_watch:
            return await call.respond(a_listing())
        asked += 1
        if asked == 6:
            enough.set()
        await call.open_watch()
        return await call.end_watch()

    with capture_logs() as logs:
        async with watching(script, tmp_path) as deltas:
            await take(deltas, 1)
            pending = asyncio.ensure_future(anext(deltas))
            await asyncio.wait_for(enough.wait(), 10)
            pending.cancel()
            await asyncio.gather(pending, return_exceptions=True)

    assert "closed immediately" in next(line["error"] for line in logs if line["log_level"] == "warning")


async def test_undecodable_object_is_skipped_and_the_watch_goes_on(tmp_path: Path):
    async def script(call: Call) -> None:
        bad = {"metadata": {"name": "bad", "namespace": "shop", "resourceVersion": "6", "labels": [1]}}
        if not call.is_watch:
            return await call.respond(a_listing(bad, an_object("a")))
        await call.open_watch()
        await call.send("MODIFIED", bad)
        await call.send("ADDED", an_object("b", "7"))
        return await call.stay_idle()

    with capture_logs() as logs:
        async with watching(script, tmp_path) as deltas:
            assert await take(deltas, 3) == [("ADDED", "a"), ("SYNCED", ""), ("ADDED", "b")]

    skipped = [line for line in logs if line["log_level"] == "error"]
    assert [line["object"] for line in skipped] == ["shop/bad", "shop/bad"]


async def test_line_split_over_chunks_is_reassembled(tmp_path: Path):
    line = msgspec.json.encode({"type": "ADDED", "object": an_object("a", "6")}) + b"\n"

    async def script(call: Call) -> None:
        if not call.is_watch:
            return await call.respond(a_listing())
        await call.open_watch()
        for cut in range(0, len(line), 7):
            await call.send_raw(line[cut : cut + 7])
        return await call.stay_idle()

    async with watching(script, tmp_path) as deltas:
        assert await take(deltas, 2) == [("SYNCED", ""), ("ADDED", "a")]


async def test_server_restored_from_a_backup_replaces_everything_known(tmp_path: Path):
    lists = [
        a_listing(an_object("a", "90"), an_object("b", "91"), version="100"),
        a_listing(an_object("a", "20"), version="30"),
    ]

    async def script(call: Call) -> None:
        if not call.is_watch:
            return await call.respond(lists.pop(0))
        await call.open_watch()
        if lists:
            return await call.send("ERROR", {"code": 410, "reason": "Expired"})
        return await call.stay_idle()

    with capture_logs():
        async with watching(script, tmp_path) as deltas:
            await take(deltas, 3)
            assert await take(deltas, 3) == [("DELETED", "a"), ("DELETED", "b"), ("ADDED", "a")]


STATES = st.dictionaries(
    st.sampled_from("abcde"), st.tuples(st.sampled_from(["u1", "u2"]), st.integers(1, 9)), max_size=5
)


@given(states=st.lists(STATES, min_size=1, max_size=6))
def test_applying_the_deltas_between_lists_gives_the_last_list(states: list[dict[str, tuple[str, int]]]):
    nowhere = cast("Client", SimpleNamespace(reachability=Reachability()))
    reflector = Reflector(nowhere, CONFIGMAP, EVERYTHING, QUICK, None)
    copy: dict[Key, PartialObjectMetadata] = {}

    for number, state in enumerate(states):
        items = [
            CONFIGMAP.decode(msgspec.json.encode(an_object(name, str(version), uid)))
            for name, (uid, version) in state.items()
        ]
        for delta in reflector._replace(ObjectList(items=items, resource_version=str(number + 1))):
            assert delta.object is not None
            key = key_of(delta.object)
            match delta.type:
                case DeltaType.ADDED:
                    assert key not in copy
                    copy[key] = delta.object
                case DeltaType.MODIFIED:
                    assert copy[key] != delta.object
                    copy[key] = delta.object
                case DeltaType.DELETED:
                    assert copy.pop(key) == delta.object

        assert copy == {key_of(item): item for item in items}


async def test_object_that_does_not_decode_is_reported_with_its_identity(tmp_path: Path):
    broken = {"metadata": {"name": "b", "namespace": "shop", "uid": "u-1", "resourceVersion": "8", "labels": 3}}

    async def script(call: Call) -> None:
        if not call.is_watch:
            return await call.respond(a_listing(an_object("a"), broken, version="5"))
        await call.open_watch()
        await call.send("MODIFIED", broken)
        await call.send("ADDED", an_object("c", "9"))
        return await call.stay_idle()

    reported: list[tuple[str, str, str]] = []

    def report(kind: Kind, obj: PartialObjectMetadata, reason: str) -> None:
        assert "labels" in reason
        reported.append((str(kind), str(key_of(obj)), obj.metadata.uid))

    async with (
        open_scripted_api(script, tmp_path) as kubeconfig,
        open_client(ClientConfig(kubeconfig=kubeconfig, timeout=2.0)) as client,
    ):
        client.on_undecodable = report
        async with aclosing(list_and_watch(client, CONFIGMAP, config=QUICK)) as deltas:
            seen = await take(deltas, 3)

    assert seen == [("ADDED", "a"), ("SYNCED", ""), ("ADDED", "c")]
    assert reported == [("configmaps", "shop/b", "u-1")] * 2
