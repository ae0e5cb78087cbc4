"""The store against a model of it: what is acknowledged is there, once, in order, and verifies."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubernaut.api.events import TimelineOrder, VerifyRequest
from kubernaut.datastorage import chain, queries
from kubernaut.datastorage.append_plan import CONFLICT_EVENT, AppendResult, ContentConflict
from kubernaut.datastorage.chain import Entry
from kubernaut.datastorage.errors import EventConflict, ParentMissing
from kubernaut.datastorage.partitions import PartitionMaintainer
from kubernaut.datastorage.reader import TimelineRequest
from kubernaut.datastorage.store import Store
from support.datastorage import OpenStore, ledger_of
from support.eventually import eventually
from support.ledger_events import an_entry

STEPS = st.lists(
    st.tuples(
        st.integers(0, 1),  # which of two stores
        st.booleans(),  # strict
        st.lists(
            st.tuples(
                st.sampled_from(["new", "again", "other", "child", "orphan"]), st.integers(0, 5), st.integers(0, 2)
            ),
            min_size=1,
            max_size=6,
        ),
    ),
    max_size=8,
)

BY_LEDGER = TimelineRequest(order=TimelineOrder.LEDGER)


class Model:
    """What the store must hold."""

    def __init__(self) -> None:
        self.run = uuid4().hex
        self.stored: dict[UUID, Entry] = {}
        self.conflicts = 0

    def entry(self, kind: str, which: int, correlation: int) -> Entry:
        """An event that is new, or stands in this relation to a stored one."""
        known = [entry for entry in self.stored.values() if entry.event.event_type != CONFLICT_EVENT]
        if not known or kind == "new":
            return an_entry(correlation_id=f"{self.run}-{correlation}")
        chosen = known[which % len(known)].event
        if kind in ("again", "other"):
            return an_entry(
                event_id=str(chosen.event_id),
                correlation_id=chosen.correlation_id,
                parent_event_id=str(chosen.parent_event_id) if chosen.parent_event_id else None,
                event_action=chosen.event_action if kind == "again" else "other",
            )
        parent = chosen.event_id if kind == "child" else uuid4()
        return an_entry(correlation_id=f"{self.run}-{correlation}", parent_event_id=str(parent))

    def append(self, entries: Sequence[Entry], *, strict: bool) -> list[type | None]:
        """What the store must answer."""
        expected: list[type | None] = []
        mine: dict[UUID, Entry] = {}
        attempts: list[ContentConflict] = []
        for entry in entries:
            seen = self.stored.get(entry.event.event_id) or mine.get(entry.event.event_id)
            parent = entry.event.parent_event_id
            if seen is not None:
                same = seen.content_hash == entry.content_hash
                if not same:
                    attempts.append(ContentConflict(entry=entry, stored_content_hash=seen.content_hash))
                expected.append(None if same else EventConflict)
            elif parent is not None and parent not in self.stored and parent not in mine:
                expected.append(ParentMissing)
            else:
                mine[entry.event.event_id] = entry
                expected.append(None)
        if not (strict and any(expected)):
            self.stored |= mine
        for attempt in attempts:
            if attempt.event.event.event_id not in self.stored:
                self.conflicts += 1
                self.stored[attempt.event.event.event_id] = attempt.event
        return expected

    def timelines(self) -> dict[str, list[UUID]]:
        """Ids of each correlation, in order."""
        order: dict[str, list[UUID]] = defaultdict(list)
        for event_id, entry in self.stored.items():
            order[entry.event.correlation_id].append(event_id)
        return order


def kinds(outcomes: list[AppendResult]) -> list[type | None]:
    return [type(outcome) if outcome else None for outcome in outcomes]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_store_behaves_like_its_model(
    another_store: OpenStore, sql: asyncpg.Connection, steps: list[tuple[int, bool, list[tuple[str, int, int]]]]
):
    model = Model()
    evidence = await sql.fetchval("SELECT count(*) FROM audit_conflicts")
    async with another_store() as first, another_store() as second:
        for which, strict, wanted in steps:
            entries = [model.entry(*one) for one in wanted]

            outcomes = await (first, second)[which].append(entries, strict=strict)

            assert kinds(outcomes) == model.append(entries, strict=strict)
        for correlation, ids in model.timelines().items():
            assert [event.event_id for event in (await first.read.timeline(correlation, BY_LEDGER)).events] == ids
            assert (await second.read.verify(VerifyRequest(correlation_id=correlation))).is_valid
        verification = await first.read.verify(VerifyRequest())

    assert verification.is_valid, verification.findings
    assert await sql.fetchval("SELECT count(*) FROM audit_conflicts") - evidence == model.conflicts
    rows = await sql.fetch(
        "SELECT event_id, content_hash FROM audit_ledger WHERE correlation_id LIKE $1", f"{model.run}%"
    )
    assert {row["event_id"]: row["content_hash"] for row in rows} == {
        event_id: entry.content_hash for event_id, entry in model.stored.items()
    }


@pytest.mark.parametrize("shards", [1, 3])
async def test_concurrent_appends_leave_one_gap_free_ledger(
    another_store: OpenStore, sql: asyncpg.Connection, shards: int
):
    shared = [an_entry(correlation_id=f"shared-{number % 5}") for number in range(20)]
    sent: dict[str, list[UUID]] = defaultdict(list)

    async def write(store: Store, name: str) -> None:
        for number in range(8):
            mine = [an_entry(correlation_id=f"{name}-{number % 2}") for number in range(7)]
            common = shared[number : number + 6] if name.endswith("0") else shared[number : number + 6][::-1]
            assert await store.append([*mine, *common]) == [None] * 13
            for entry in mine:
                sent[entry.event.correlation_id].append(entry.event.event_id)

    async with another_store(shards=shards) as first, another_store(shards=shards) as second:
        await asyncio.gather(*(write(store, f"{n}-{k}") for n, store in enumerate((first, second)) for k in range(6)))
        verification = await first.read.verify(VerifyRequest())

    assert verification.is_valid, verification.findings
    rows = await ledger_of(sql)
    by_shard: dict[int, list[int]] = defaultdict(list)
    order: dict[str, list[UUID]] = defaultdict(list)
    for row in rows:
        by_shard[row["shard"]].append(row["sequence"])
        order[row["correlation_id"]].append(row["event_id"])
    assert len(by_shard) == shards
    assert all(sequences == list(range(1, len(sequences) + 1)) for sequences in by_shard.values())
    assert {name: ids for name, ids in order.items() if name in sent} == sent
    assert Counter(row["event_id"] for row in rows).most_common(1)[0][1] == 1
    assert len(rows) == 2 * 6 * 8 * 7 + 13


async def test_waiting_requests_share_one_commit(store: Store, sql: asyncpg.Connection):
    requests = [[an_entry(), an_entry()] for _ in range(50)]

    await asyncio.gather(*(store.append(entries) for entries in requests))

    commits = await sql.fetchval("SELECT count(DISTINCT xmin::text) FROM audit_ledger")
    assert commits <= 3
    assert [row["event_id"] for row in await ledger_of(sql)] == [
        entry.event.event_id for entries in requests for entry in entries
    ]


async def test_other_content_under_a_stored_id_is_kept_as_evidence(store: Store, sql: asyncpg.Connection):
    stored = an_entry()
    edited = an_entry(event_id=str(stored.event.event_id), event_outcome="failure")
    await store.append([stored])

    outcomes = await store.append([an_entry(), edited])
    again = await asyncio.gather(store.append([edited]), store.append([edited, an_entry()], strict=False))

    assert kinds(outcomes) == [None, EventConflict]
    assert [kinds(results) for results in again] == [[EventConflict], [EventConflict, None]]
    first, second, _ = (await store.read.timeline("rr-1", BY_LEDGER)).events
    assert (first.event_id, second.event_type) == (stored.event.event_id, CONFLICT_EVENT)
    assert (second.event_category, second.event_outcome) == ("security", "failure")
    data = json.loads(bytes(second.event_data))
    assert data["refused_event"]["event_outcome"] == "failure"
    assert data["stored_content_hash"] == stored.content_hash.hex()
    assert (await store.read.verify(VerifyRequest())).is_valid
    row = await sql.fetchrow("SELECT * FROM audit_conflicts")
    assert await sql.fetchval("SELECT count(*) FROM audit_conflicts") == 1
    assert row["event_id"] == stored.event.event_id
    assert row["stored_content_hash"] == stored.content_hash
    assert row["refused_content_hash"] == edited.content_hash
    assert '"event_outcome": "failure"' in row["refused_event"]


@pytest.mark.parametrize("time", ["2021-02-28T23:59:59.999999Z", "2020-01-01T00:00:00Z", "1999-12-31T00:00:00Z"])
async def test_late_event_of_any_age_finds_its_partition(store: Store, sql: asyncpg.Connection, time: str):
    await store.append([an_entry(event_timestamp=time), an_entry()])

    table = await sql.fetchval("SELECT tableoid::regclass::text FROM audit_events ORDER BY event_timestamp LIMIT 1")
    year, month, _ = time.split("-")
    assert table == (f"audit_events_{year}_{month}" if int(year) >= 2020 else "audit_events_before_2020")
    timeline = await store.read.timeline("rr-1")
    assert [event.late for event in timeline.events] == [True, False]
    assert (await store.read.verify(VerifyRequest())).is_valid


async def test_partitions_reach_three_months_ahead(store: Store, sql: asyncpg.Connection):
    rows = await sql.fetch(
        "SELECT to_char(date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month', 'YYYY_MM') AS month "
        "FROM generate_series(0, 3) AS n"
    )

    for row in rows:
        assert await sql.fetchval("SELECT to_regclass($1)", f"audit_events_{row['month']}")


async def test_newest_hash_of_a_correlation_is_right_after_another_process_appended(another_store: OpenStore):
    async with another_store() as first, another_store() as second:
        for store in (first, second, first, second, second, first):
            await store.append([an_entry(), an_entry(correlation_id="rr-2")])
        assert (await first.read.verify(VerifyRequest())).is_valid
        assert (await second.read.verify(VerifyRequest(correlation_id="rr-2"))).is_valid


async def test_small_group_is_one_transaction_behind_whoever_holds_the_lock(store: Store, sql: asyncpg.Connection):
    await store.append([an_entry()])
    async with asyncio.TaskGroup() as tasks, sql.transaction():
        await queries.execute(sql, "lock_ledger", shard=0)
        waiting = tasks.create_task(store.append([an_entry() for _ in range(10)]))
        await eventually(lambda: waits_for_the_lock(sql))

        assert not waiting.done()

    assert waiting.result() == [None] * 10
    assert await sql.fetchval("SELECT count(DISTINCT xmin::text) FROM audit_ledger") == 2
    assert (await store.read.verify(VerifyRequest())).is_valid


async def waits_for_the_lock(sql: asyncpg.Connection) -> bool:
    return bool(await sql.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"))


async def test_small_group_follows_rows_that_an_old_version_wrote_without_a_tree(store: Store, sql: asyncpg.Connection):
    await store.append([an_entry()])
    (first,) = await ledger_of(sql)
    (row,) = chain.link(0, 1, {"rr-1": first["event_hash"]}, [an_entry()])
    old = row._replace(format=1, leaf_hash=None, link_hash=chain.link_hash(chain.ORIGIN, row))
    await sql.copy_records_to_table("audit_ledger", records=[old], columns=chain.Row._fields)

    assert await store.append([an_entry()]) == [None]

    rows = await ledger_of(sql)
    assert [row["sequence"] for row in rows] == [1, 2, 3]
    assert rows[2]["previous_event_hash"] == old.event_hash
    assert (await store.read.ledger.head(0)).size == 3


async def test_id_that_another_process_is_storing_is_not_stored_twice(another_store: OpenStore):
    entries = [an_entry() for _ in range(20)]
    async with another_store() as first, another_store() as second:
        for entry in entries:
            assert await asyncio.gather(first.append([entry]), second.append([entry])) == [[None], [None]]

        assert (await first.read.verify(VerifyRequest())).total_events == len(entries)


@pytest.mark.parametrize("statement", ["UPDATE {} SET correlation_id = 'x'", "DELETE FROM {}", "TRUNCATE {}"])
@pytest.mark.parametrize("table", ["audit_events", "audit_ledger"])
async def test_change_is_refused_unless_it_declares_itself(
    store: Store, sql: asyncpg.Connection, table: str, statement: str
):
    await store.append([an_entry()])

    with pytest.raises(asyncpg.CheckViolationError, match="append-only"):
        await sql.execute(statement.format(table))

    async with sql.transaction():
        await sql.execute(f"SET LOCAL kubernaut.allow_change = '{table}'")
        await sql.execute(statement.format(table))
    with pytest.raises(asyncpg.CheckViolationError, match="append-only"):
        await sql.execute(f"TRUNCATE {table}")


async def test_request_that_postgresql_refuses_does_not_take_others_along(store: Store, sql: asyncpg.Connection):
    await sql.execute("ALTER TABLE audit_events ADD CHECK (event_action <> 'refused')")
    good, bad = [an_entry()], [an_entry(event_action="refused")]

    answers = await asyncio.gather(store.append(good), store.append(bad), store.append(good), return_exceptions=True)

    assert answers[0] == answers[2] == [None]
    assert isinstance(answers[1], asyncpg.CheckViolationError)
    assert len(await ledger_of(sql)) == 1
    assert (await store.read.verify(VerifyRequest())).is_valid


async def test_groups_that_overlap_in_time_keep_the_order_of_arrival(store: Store, sql: asyncpg.Connection):
    requests = [[an_entry(correlation_id=f"rr-{number % 3}") for number in range(500)] for _ in range(6)]

    await asyncio.gather(*(store.append(entries) for entries in requests))

    assert [row["event_id"] for row in await ledger_of(sql)] == [
        entry.event.event_id for entries in requests for entry in entries
    ]
    assert await sql.fetchval("SELECT count(DISTINCT xmin::text) FROM audit_ledger") > 1
    assert (await store.read.verify(VerifyRequest())).is_valid


async def test_group_that_needs_the_one_before_it_waits_for_it(store: Store, sql: asyncpg.Connection):
    first = [an_entry() for _ in range(700)]
    child = an_entry(parent_event_id=str(first[-1].event.event_id))
    edited = an_entry(event_id=str(first[0].event.event_id), event_action="edited")
    fillers = [an_entry() for _ in range(300)]

    answers = await asyncio.gather(
        store.append(first), store.append([*first[::-1][:100], *fillers]), store.append([child, edited], strict=False)
    )

    assert answers[0] == [None] * 700
    assert answers[1] == [None] * 400
    assert kinds(answers[2]) == [None, EventConflict]
    assert len(await ledger_of(sql)) == 1002
    assert (await store.read.verify(VerifyRequest())).is_valid


async def test_partition_that_is_missing_ahead_is_created_again(sql: asyncpg.Connection):
    maintainer = PartitionMaintainer()
    await maintainer.ensure_ahead(sql)
    await maintainer.load(sql)
    months = {row["month"] for row in await queries.fetch(sql, "months")}
    last = f"audit_events_{max(months):%Y_%m}"
    await sql.execute(f"DROP TABLE {last}")

    await maintainer.ensure_ahead(sql)

    assert await sql.fetchval("SELECT to_regclass($1)::text", last) == last
    assert {row["month"] for row in await queries.fetch(sql, "months")} == months
