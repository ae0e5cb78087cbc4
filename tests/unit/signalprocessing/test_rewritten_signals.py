"""A typed client of Go keeps times in whole seconds and leaves out what is empty; what it writes back changes nothing.

What it may do to the spec, an API server decides: `tests/integration/kube/test_immutability.py`.
"""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubernaut.api.crds import structural_schema
from kubernaut.api.events import AuditEvent
from kubernaut.api.signals import SignalProcessing, SignalStatus
from kubernaut.api.vocabulary import Phase
from kubernaut.signalprocessing import reconciler
from kubernaut.signalprocessing.config import OnPolicyError
from kubernaut.signalprocessing.policy.protocol import RuleError
from support.reconciling import FakePolicy, Harness
from support.signals import a_signal


def time_paths(schema: dict[str, Any], at: str = "") -> Iterable[str]:
    """Where the schema has a time, such as `.conditions[].lastTransitionTime`."""
    if schema.get("format") == "date-time":
        yield at
    for name, inner in schema.get("properties", {}).items():
        yield from time_paths(inner, f"{at}.{name}")
    if isinstance(schema.get("items"), dict):
        yield from time_paths(schema["items"], f"{at}[]")


SCHEMA = structural_schema(SignalStatus)
TIMES = sorted(time_paths(SCHEMA))
EMPTY = ("", 0, False, [], {})


def truncated(value: Any, schema: dict[str, Any], paths: frozenset[str], at: str = "") -> Any:
    """The value as a client writes it back that keeps whole seconds at these paths, and no field that is empty."""
    if "properties" in schema:
        inner = {name: (each, schema["properties"][name]) for name, each in value.items()}
        kept = {name: truncated(each, of, paths, f"{at}.{name}") for name, (each, of) in inner.items()}
        is_struct = {name: "properties" in of for name, (_, of) in inner.items()}
        return {name: each for name, each in kept.items() if is_struct[name] or each not in EMPTY}
    if isinstance(value, list):
        return [truncated(each, schema["items"], paths, f"{at}[]") for each in value]
    if at in paths:
        return datetime.fromisoformat(value).replace(microsecond=0).isoformat()
    return value


def written_back(status: SignalStatus, paths: frozenset[str]) -> SignalStatus:
    return msgspec.convert(truncated(msgspec.to_builtins(status), SCHEMA, paths), SignalStatus)


def test_the_family_of_times_is_the_one_of_the_schema():
    assert {".startTime", ".completionTime", ".conditions[].lastTransitionTime", ".failureInfo.lastFailureTime"} <= {
        *TIMES
    }


class Store:
    """What DataStorage keeps of the events that come in, one after the other."""

    def __init__(self) -> None:
        self.stored: dict[UUID | None, bytes] = {}
        self.conflicts: list[str] = []

    def take(self, events: list[AuditEvent]) -> None:
        for event in events:
            body = msgspec.json.encode(msgspec.structs.replace(event, if_absent=None))
            kept = self.stored.setdefault(event.event_id, body)
            if kept != body and not event.if_absent:
                self.conflicts.append(event.event_type)


async def completed(harness: Harness) -> None:
    await harness.reconcile()


async def failed_by_policy(harness: Harness) -> None:
    await harness.reconcile()


async def failed_by_its_parent(harness: Harness) -> None:
    """The parent writes the phase alone, as an orchestrator that gives up."""
    await harness.reconcile()
    status = msgspec.structs.replace(harness.status, phase=Phase.FAILED)
    harness.signals.put(harness.key, status)
    harness.signals.cached = dict(harness.signals.stored)
    await harness.reconcile()


async def waiting(harness: Harness) -> None:
    """It has failed once and is to be tried again."""
    harness.cluster.failures = 1
    await harness.reconcile()
    assert harness.status.phase is Phase.ENRICHING


HISTORIES = {each.__name__: each for each in (completed, failed_by_policy, failed_by_its_parent, waiting)}


def a_harness(history: str, signal: SignalProcessing) -> Harness:
    if history == failed_by_policy.__name__:
        return Harness(signal, FakePolicy(priority=RuleError(message="x")), on_policy_error=OnPolicyError.FAIL)
    return Harness(signal)


def created() -> SignalProcessing:
    signal = a_signal()
    metadata = msgspec.structs.replace(signal.metadata, creation_timestamp=datetime.now(UTC).replace(microsecond=0))
    return msgspec.structs.replace(signal, metadata=metadata)


@settings(max_examples=200, deadline=None)
@given(
    history=st.sampled_from(sorted(HISTORIES)),
    paths=st.frozensets(st.sampled_from(TIMES), min_size=1) | st.just(frozenset(TIMES)),
    is_restarted=st.booleans(),
)
def test_phases_and_record_stay_as_they_were(history: str, paths: frozenset[str], is_restarted: bool):
    async def run() -> tuple[Harness, SignalStatus, Store]:
        store, before = Store(), a_harness(history, created())
        await HISTORIES[history](before)
        store.take(before.audit.events)
        known = dict(store.stored)
        rewritten = written_back(before.status, paths)
        before.signals.put(before.key, rewritten)
        after = a_harness(history, before.signals.stored[before.key]) if is_restarted else before
        after.signals.cached = dict(after.signals.stored)
        recorded = len(after.audit.events)
        if rewritten.phase is not None and rewritten.phase.is_final:
            await after.reconcile()
            assert {event.event_id for event in after.audit.events[recorded:]} <= known.keys()
        else:
            await after.reconcile()
            with patch.object(reconciler, "_remaining_backoff", lambda signal: None):  # the delay is over
                await after.reconcile()
        store.take(after.audit.events[recorded:])
        assert {id: store.stored[id] for id in known} == known
        return after, rewritten, store

    harness, rewritten, store = asyncio.run(run())

    assert store.conflicts == []
    if rewritten.phase is not None and rewritten.phase.is_final:
        assert harness.status == rewritten
    else:
        assert harness.status.phase is Phase.COMPLETED
        assert {event.event_id for event in harness.audit.events} <= store.stored.keys()


@pytest.mark.parametrize("history", sorted(HISTORIES))
async def test_what_nobody_has_rewritten_is_recorded_without_a_reservation(history: str):
    harness = a_harness(history, created())
    await HISTORIES[history](harness)

    assert harness.audit.events
    assert {event.if_absent for event in harness.audit.events} == {None}
