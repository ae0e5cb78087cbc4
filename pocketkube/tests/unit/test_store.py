"""The store: revisions, history, and what a crash leaves."""

import asyncio
import sqlite3

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pocketkube.codec import decode
from pocketkube.operations import reader
from pocketkube.operations.reader import WatchRequest
from pocketkube.operations.selectors import EVERYTHING
from pocketkube.resources.builtin import builtin_resources
from pocketkube.status import ApiError
from pocketkube.storage import store
from pocketkube.storage.persistence import SqliteBackend
from pocketkube.storage.store import Store, open_store

CONFIG_MAPS = next(resource for resource in builtin_resources() if resource.kind == "ConfigMap")


def an_object(name, value=0, **metadata):
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "n", "uid": name, **metadata},
        "data": {"x": str(value)},
    }


class Watcher:
    """Reads a collection as a watch does, and remembers what it saw."""

    def __init__(self, opened: Store) -> None:
        self.known = {record.key: record.revision for record in opened.collection("configmaps").records.values()}
        self.after = opened.revision
        self.position = opened.collection("configmaps").position_after(self.after)
        self.request = WatchRequest(
            resource=CONFIG_MAPS,
            namespace="n",
            selection=EVERYTHING,
            after=self.after,
            initial=[],
            sends_initial_bookmark=False,
            bookmarks=False,
            timeout=1,
        )

    def read(self, opened: Store) -> None:
        changes = opened.collection("configmaps").changes_from(self.position)
        assert changes is not None
        self.position += len(changes)
        for line in reader._lines(self.request, changes, reader.encode_served):
            event = decode(line)
            content = event["object"]["metadata"]
            revision, key = int(content["resourceVersion"]), ("n", content["name"])
            assert revision > self.after
            self.after = revision
            match event["type"]:
                case "ADDED":
                    assert key not in self.known
                    self.known[key] = revision
                case "MODIFIED":
                    assert self.known[key] < revision
                    self.known[key] = revision
                case "DELETED":
                    del self.known[key]


class Revisions(RuleBasedStateMachine):
    """Whatever happens, each watcher sees every version of each object once and in order."""

    names = st.sampled_from("abcd")

    @initialize()
    def open(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.store = Store(SqliteBackend(":memory:"))
        self.seen = [0]
        self.model = {}
        self.watchers = [Watcher(self.store)]

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.in_loop(self.store.close)
            self.loop.close()

    def in_loop(self, call, *arguments):
        async def run():
            return call(*arguments)

        return self.loop.run_until_complete(run())

    @rule(name=names, value=st.integers(0, 3))
    def put(self, name, value) -> None:
        record = self.in_loop(self.store.put, "configmaps", ("n", name), an_object(name, value))
        self.seen.append(record.revision)
        self.model["n", name] = record.revision

    @rule(name=names)
    def remove(self, name) -> None:
        if ("n", name) in self.model:
            self.in_loop(self.store.remove, "configmaps", ("n", name), an_object(name))
            self.seen.append(self.store.revision)
            del self.model["n", name]

    @rule()
    def watch(self) -> None:
        self.in_loop(self.store.commit)
        if len(self.watchers) < 4:
            self.watchers.append(Watcher(self.store))

    @rule(which=st.integers(0, 3))
    def read(self, which) -> None:
        self.in_loop(self.store.commit)
        watcher = self.watchers[which % len(self.watchers)]
        watcher.read(self.store)

        assert watcher.known == self.model

    @rule(which=st.integers(0, 20))
    def look_back(self, which) -> None:
        self.in_loop(self.store.commit)
        collection = self.store.collection("configmaps")
        revision = self.seen[which % len(self.seen)]
        past = collection.sorted_at(revision, "n")
        if past is not None:
            assert all(record.revision <= revision for record in past)
            assert [record.key for record in past] == sorted(record.key for record in past)

    @invariant()
    def revisions_only_rise(self) -> None:
        if hasattr(self, "seen"):
            assert self.seen == sorted(set(self.seen))


TestRevisions = Revisions.TestCase
TestRevisions.settings = settings(
    max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


async def test_store_remembers_what_was_written(tmp_path):
    opened = open_store(tmp_path)
    opened.put("configmaps", ("n", "a"), an_object("a", 1))
    opened.put("configmaps", ("n", "b"), an_object("b"))
    opened.remove("configmaps", ("n", "b"), an_object("b"))
    await opened.committed()
    last = opened.revision
    opened.close()

    again = open_store(tmp_path)

    assert [record.key[1] for record in again.collection("configmaps").sorted("n")] == ["a"]
    assert again.get("configmaps", ("n", "a")).as_object()["data"] == {"x": "1"}
    assert again.revision > last
    again.close()


async def test_history_begins_at_the_restart(tmp_path):
    opened = open_store(tmp_path)
    record = opened.put("configmaps", ("n", "a"), an_object("a"))
    await opened.committed()
    opened.close()

    again = open_store(tmp_path)

    assert again.collection("configmaps").compacted_revision > record.revision
    assert again.collection("configmaps").sorted_at(record.revision, "n") is None
    again.close()


async def test_history_forgets_its_oldest_part(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "MAX_HISTORY", 4)
    opened = open_store(tmp_path)
    collection = opened.collection("configmaps")
    start = opened.revision
    for value in range(20):
        opened.put("configmaps", ("n", "a"), an_object("a", value))
    opened.commit()

    assert len(collection.changes) < 8
    assert collection.compacted_revision > start
    assert collection.changes_from(0) is None
    assert [c.revision for c in collection.changes_from(collection.position_after(opened.revision - 2))] == [
        opened.revision - 1,
        opened.revision,
    ]
    opened.close()


class FullDisk(SqliteBackend):
    """A disk that takes nothing from some moment on."""

    full = False

    def write(self, entries, revision):
        if self.full:
            raise sqlite3.OperationalError("database or disk is full")
        super().write(entries, revision)


async def test_write_that_did_not_reach_the_disk_never_happened():
    journal = FullDisk(":memory:")
    opened = Store(journal)
    opened.put("configmaps", ("n", "a"), an_object("a", 1))
    await opened.committed()
    watcher = Watcher(opened)
    journal.full = True

    opened.put("configmaps", ("n", "a"), an_object("a", 2))
    opened.put("configmaps", ("n", "b"), an_object("b"))
    with pytest.raises(ApiError, match="disk is full"):
        await opened.committed()

    assert opened.get("configmaps", ("n", "a")).as_object()["data"] == {"x": "1"}
    assert opened.get("configmaps", ("n", "b")) is None
    journal.full = False
    after = opened.put("configmaps", ("n", "a"), an_object("a", 3))
    await opened.committed()
    watcher.read(opened)
    assert watcher.known == {("n", "a"): after.revision}
    opened.close()
