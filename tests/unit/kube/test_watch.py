"""How changes are followed when the server is silent, forgets, refuses or talks nonsense."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from kubernaut.kube.client import EVERYTHING, Client, ClientConfig, open_client
from kubernaut.kube.objects import Key, Kind, PartialObject, key_of
from kubernaut.kube.watch import Change, ChangeType, WatchConfig, _Follower, changes
from kubernaut.kube.wire import Listing
from kubernaut.ops.backoff import Backoff
from support.scripted_api import Call, Script, a_listing, an_object, open_scripted_api

CONFIGMAP = Kind(version="v1", kind="ConfigMap", plural="configmaps", type=PartialObject)
QUICK = WatchConfig(silence=0.2, backoff=Backoff(initial_delay=0.01, max_delay=0.05))


@asynccontextmanager
async def following(script: Script, directory: Path) -> AsyncIterator[AsyncIterator[Change[PartialObject]]]:
    async with (
        open_scripted_api(script, directory) as kubeconfig,
        open_client(ClientConfig(kubeconfig=kubeconfig, timeout=2.0)) as client,
        aclosing(changes(client, CONFIGMAP, config=QUICK)) as found,
    ):
        yield found


async def take(found: AsyncIterator[Change[PartialObject]], count: int) -> list[tuple[str, str]]:
    async with asyncio.timeout(10):
        taken = [await anext(found) for _ in range(count)]
    return [(change.type.value, change.object.metadata.name if change.object else "") for change in taken]


async def test_silent_watch_is_noticed_and_goes_on_where_it_was(tmp_path: Path):
    asked: list[str] = []

    async def script(call: Call) -> None:
        if not call.is_watch:
            return await call.answer(a_listing(an_object("a"), version="5"))
        asked.append(call.query["resourceVersion"])
        await call.open_watch()
        if len(asked) == 1:
            await call.send("ADDED", an_object("b", "8"))
            return await call.silence()
        await call.send("ADDED", an_object("c", "9"))
        return await call.silence()

    async with following(script, tmp_path) as found:
        seen = await take(found, 4)

    assert seen == [("ADDED", "a"), ("SYNCED", ""), ("ADDED", "b"), ("ADDED", "c")]
    assert asked == ["5", "8"]


async def test_bookmark_moves_the_place_to_go_on_from(tmp_path: Path):
    asked: list[str] = []

    async def script(call: Call) -> None:
        if not call.is_watch:
            return await call.answer(a_listing(version="5"))
        asked.append(call.query["resourceVersion"])
        assert call.query["allowWatchBookmarks"] == "true"
        await call.open_watch()
        if len(asked) == 1:
            await call.send("BOOKMARK", {"metadata": {"resourceVersion": "77"}})
            return call.hang_up()
        await call.send("ADDED", an_object("b", "78"))
        return await call.silence()

    async with following(script, tmp_path) as found:
        assert await take(found, 2) == [("SYNCED", ""), ("ADDED", "b")]

    assert asked == ["5", "77"]


async def test_history_gone_means_list_again_and_report_what_vanished(tmp_path: Path):
    lists = [
        a_listing(an_object("a", "1"), an_object("b", "2"), an_object("c", "3"), version="5"),
        a_listing(an_object("b", "2"), an_object("c", "7"), an_object("d", "8"), version="9"),
    ]

    async def script(call: Call) -> None:
        if not call.is_watch:
            return await call.answer(lists.pop(0))
        await call.open_watch()
        if lists:
            return await call.send("ERROR", {"code": 410, "reason": "Expired", "message": "too old"})
        return await call.silence()

    async with following(script, tmp_path) as found:
        assert await take(found, 4) == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c"), ("SYNCED", "")]
        assert sorted(await take(found, 3)) == [("ADDED", "d"), ("DELETED", "a"), ("MODIFIED", "c")]


async def test_gone_as_a_status_code_means_the_same(tmp_path: Path):
    lists = [a_listing(an_object("a"), version="5"), a_listing(version="9")]

    async def script(call: Call) -> None:
        if not call.is_watch:
            return await call.answer(lists.pop(0))
        if lists:
            return await call.refuse(410, "Expired")
        await call.open_watch()
        return await call.silence()

    async with following(script, tmp_path) as found:
        assert await take(found, 3) == [("ADDED", "a"), ("SYNCED", ""), ("DELETED", "a")]


async def test_list_whose_continuation_expired_is_read_in_one_piece(tmp_path: Path):
    async def script(call: Call) -> None:
        if call.is_watch:
            await call.open_watch()
            return await call.silence()
        if "continue" in call.query:
            return await call.refuse(410, "Expired")
        if "limit" in call.query:
            return await call.answer(a_listing(an_object("a"), version="5", token="next"))
        return await call.answer(a_listing(an_object("a"), an_object("b"), version="6"))

    async with following(script, tmp_path) as found:
        assert await take(found, 3) == [("ADDED", "a"), ("ADDED", "b"), ("SYNCED", "")]


async def test_one_outage_is_one_warning_and_one_notice(tmp_path: Path):
    refusals = 4

    async def script(call: Call) -> None:
        nonlocal refusals
        if not call.is_watch:
            if refusals:
                refusals -= 1
                return await call.refuse(500, message="etcd is down")
            return await call.answer(a_listing(an_object("a")))
        await call.open_watch()
        await call.send("ADDED", an_object("b"))
        return await call.silence()

    with capture_logs() as logs:
        async with following(script, tmp_path) as found:
            await take(found, 3)

    lines = [(line["log_level"], line["event"]) for line in logs if line["log_level"] != "debug"]
    assert lines == [("warning", "lost the API server"), ("info", "the API server is back")]
    assert "etcd is down" in logs[0]["error"]


async def test_watch_that_may_not_be_opened_is_asked_for_ever_more_rarely(tmp_path: Path):
    asked = 0
    enough = asyncio.Event()

    async def script(call: Call) -> None:
        nonlocal asked
        if not call.is_watch:
            return await call.answer(a_listing())
        asked += 1
        if asked == 6:
            enough.set()
        await call.open_watch()
        return await call.end_watch()

    with capture_logs() as logs:
        async with following(script, tmp_path) as found:
            await take(found, 1)
            pending = asyncio.ensure_future(anext(found))
            await asyncio.wait_for(enough.wait(), 10)
            pending.cancel()
            await asyncio.gather(pending, return_exceptions=True)

    assert "ended at once" in next(line["error"] for line in logs if line["log_level"] == "warning")


async def test_object_that_does_not_fit_is_left_out_and_the_watch_goes_on(tmp_path: Path):
    async def script(call: Call) -> None:
        bad = {"metadata": {"name": "bad", "namespace": "shop", "resourceVersion": "6", "labels": [1]}}
        if not call.is_watch:
            return await call.answer(a_listing(bad, an_object("a")))
        await call.open_watch()
        await call.send("MODIFIED", bad)
        await call.send("ADDED", an_object("b", "7"))
        return await call.silence()

    with capture_logs() as logs:
        async with following(script, tmp_path) as found:
            assert await take(found, 3) == [("ADDED", "a"), ("SYNCED", ""), ("ADDED", "b")]

    left_out = [line for line in logs if line["log_level"] == "error"]
    assert [line["object"] for line in left_out] == ["shop/bad", "shop/bad"]


async def test_line_cut_anywhere_is_put_together(tmp_path: Path):
    line = msgspec.json.encode({"type": "ADDED", "object": an_object("a", "6")}) + b"\n"

    async def script(call: Call) -> None:
        if not call.is_watch:
            return await call.answer(a_listing())
        await call.open_watch()
        for cut in range(0, len(line), 7):
            await call.send_raw(line[cut : cut + 7])
        return await call.silence()

    async with following(script, tmp_path) as found:
        assert await take(found, 2) == [("SYNCED", ""), ("ADDED", "a")]


async def test_server_restored_from_a_backup_is_believed(tmp_path: Path):
    lists = [
        a_listing(an_object("a", "90"), an_object("b", "91"), version="100"),
        a_listing(an_object("a", "20"), version="30"),
    ]

    async def script(call: Call) -> None:
        if not call.is_watch:
            return await call.answer(lists.pop(0))
        await call.open_watch()
        if lists:
            return await call.send("ERROR", {"code": 410, "reason": "Expired"})
        return await call.silence()

    with capture_logs():
        async with following(script, tmp_path) as found:
            await take(found, 3)
            assert await take(found, 3) == [("DELETED", "a"), ("DELETED", "b"), ("ADDED", "a")]


STATES = st.dictionaries(
    st.sampled_from("abcde"), st.tuples(st.sampled_from(["u1", "u2"]), st.integers(1, 9)), max_size=5
)


@given(states=st.lists(STATES, min_size=1, max_size=6))
def test_applying_the_changes_between_lists_gives_the_last_list(states: list[dict[str, tuple[str, int]]]):
    nowhere = cast("Client", SimpleNamespace())
    follower = _Follower(nowhere, CONFIGMAP, EVERYTHING, QUICK, None)
    copy: dict[Key, PartialObject] = {}

    for number, state in enumerate(states):
        items = [
            CONFIGMAP.decode(msgspec.json.encode(an_object(name, str(version), uid)))
            for name, (uid, version) in state.items()
        ]
        for change in follower._compare(Listing(items=items, resource_version=str(number + 1))):
            assert change.object is not None
            key = key_of(change.object)
            match change.type:
                case ChangeType.ADDED:
                    assert key not in copy
                    copy[key] = change.object
                case ChangeType.MODIFIED:
                    assert copy[key] != change.object
                    copy[key] = change.object
                case ChangeType.DELETED:
                    assert copy.pop(key) == change.object

        assert copy == {key_of(item): item for item in items}
