"""What must hold after a history of the controller."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from faults.decision_load import DecisionLoad
from faults.decision_policies import hash_of, versions_in
from faults.decision_stack import DecisionStack
from kubernaut.api.signals import SignalProcessing
from kubernaut.api.vocabulary import EventType, Phase
from kubernaut.audit import ClientConfig as StoreConfig
from kubernaut.audit import open_client as open_store_client
from kubernaut.datastorage import intake
from kubernaut.kube.client import ListOptions
from kubernaut.kube.errors import KubeError
from kubernaut.signalprocessing import audit_events
from kubernaut.signalprocessing.kinds import SIGNAL
from support.eventually import eventually
from support.supervised_stack import HOME

SETTLE_TIMEOUT = 90.0  # seconds; back-off grows to 60
MAX_EXAMPLES = 3
EVENTS_PER_SIGNAL = 9
"""Five transitions, three results and the end of a signal that completed."""


@dataclass(kw_only=True)
class DecisionCheck:
    """What was found."""

    problems: list[str] = field(default_factory=list)
    signals: int = 0
    events: int = 0

    def fail(self, problem: str, examples: Sequence[object] = ()) -> None:
        self.problems.append(problem + (f", such as {[*examples][:MAX_EXAMPLES]}" if examples else ""))


async def settled(stack: DecisionStack, load: DecisionLoad) -> list[SignalProcessing]:
    """Every signal that is left, once all have ended and those that were deleted are gone."""

    async def probe() -> list[SignalProcessing] | None:
        try:
            found = (await stack.parts.client.list(SIGNAL, ListOptions(namespace=HOME))).items
        except KubeError:
            return None
        names = {each.metadata.name for each in found}
        open_signals = [f"{each.metadata.name} {each.status.phase}" for each in found if not _is_over(each)]
        if open_signals:
            raise AssertionError(f"{len(open_signals)} signals have not ended, such as {open_signals[:3]}")
        if names & load.deleted:
            raise AssertionError(f"deleted signals are still there: {sorted(names & load.deleted)[:3]}")
        if missing := {each.metadata.name for each in load.raised} - names - load.deleted:
            raise AssertionError(f"signals are gone: {sorted(missing)[:3]}")
        return found

    return await eventually(probe, timeout=SETTLE_TIMEOUT, interval=0.2)


async def check(stack: DecisionStack, load: DecisionLoad, left: list[SignalProcessing]) -> DecisionCheck:
    """Compare the signals with the ledger and with the policies that were written."""
    result = DecisionCheck(signals=len(load.raised))
    expected = {each.spec.remediation_request_ref.name: _contents(each) for each in left}
    rows = await _rows(stack, expected)
    result.events = len(rows)
    found: dict[str, list[tuple[UUID, bytes, str]]] = defaultdict(list)
    for row in rows:
        found[row["correlation_id"]].append((row["event_id"], row["content_hash"], row["event_type"]))
    _check_events(result, load, expected, found)
    _check_counts(result, load, left, expected)
    _check_deleted(result, load, found)
    _check_policies(result, stack, load, left)
    await _check_ledger(result, stack, load)
    return result


def _is_over(signal: SignalProcessing) -> bool:
    phase = signal.status.phase
    return phase is not None and phase.is_final and signal.status.completion_time is not None


def _contents(signal: SignalProcessing) -> list[tuple[UUID, bytes]]:
    """The ids and content hashes of the events that a signal must have left, in order."""
    events = audit_events.events_of(signal)
    entries = intake.admit(msgspec.json.encode(events), datetime.now(UTC), 1000)
    return [(entry.event.event_id, entry.content_hash) for entry in entries if entry.event.event_id]


async def _rows(stack: DecisionStack, expected: dict[str, list[tuple[UUID, bytes]]]) -> list[Any]:
    """The events in the ledger, once it has all that are expected or does not change any more."""
    wanted = {id for contents in expected.values() for id, _ in contents}
    connection = await asyncpg.connect(stack.parts.database, timeout=10)
    rows: list[Any] = []

    async def probe() -> bool:
        nonlocal rows
        rows = await connection.fetch(
            """SELECT l.correlation_id, l.event_id, l.content_hash, e.event_type
                 FROM audit_ledger l JOIN audit_events e USING (event_id)
                WHERE e.event_category = 'signalprocessing' ORDER BY l.shard, l.sequence"""
        )
        return not wanted - {row["event_id"] for row in rows}

    try:
        await eventually(probe, timeout=SETTLE_TIMEOUT, interval=0.3)
    except AssertionError:
        pass  # the check says which
    finally:
        await connection.close()
    return rows


def _check_events(
    result: DecisionCheck,
    load: DecisionLoad,
    expected: dict[str, list[tuple[UUID, bytes]]],
    found: dict[str, list[tuple[UUID, bytes, str]]],
) -> None:
    ids = [id for contents in found.values() for id, _, _ in contents]
    if len(ids) != len(set(ids)):
        result.fail(f"{len(ids) - len(set(ids))} events are stored twice")
    for correlation, contents in expected.items():
        stored = found.get(correlation, [])
        if correlation in load.edited:
            missing = {id for id, _ in contents} - {id for id, _, _ in stored}
            if missing:
                result.fail(f"{correlation}, whose status was edited, lacks events", sorted(map(str, missing)))
            continue
        # Failed attempts are recorded as well, and leave no trace in a signal that went on.
        plain = [each[:2] for each in stored if each[2] != EventType.ERROR_OCCURRED or each[:2] in contents]
        if plain != contents:
            kinds = [type for _, _, type in stored]
            result.fail(f"{correlation} has {len(plain)} of {len(contents)} events, or others, or another order", kinds)


def _check_counts(
    result: DecisionCheck,
    load: DecisionLoad,
    left: list[SignalProcessing],
    expected: dict[str, list[tuple[UUID, bytes]]],
) -> None:
    """What is expected comes from the code under test; how much it must be does not."""
    for signal in left:
        correlation = signal.spec.remediation_request_ref.name
        is_plain = signal.status.phase is Phase.COMPLETED and correlation not in load.edited
        if is_plain and len(expected[correlation]) != EVENTS_PER_SIGNAL:
            result.fail(f"{correlation} has {len(expected[correlation])} events instead of {EVENTS_PER_SIGNAL}")


def _check_deleted(result: DecisionCheck, load: DecisionLoad, found: dict[str, list[tuple[UUID, bytes, str]]]) -> None:
    for raised in load.raised:
        if raised.metadata.name not in load.deleted:
            continue
        correlation = raised.spec.remediation_request_ref.name
        types = [type for _, _, type in found.get(correlation, [])]
        if types.count(EventType.SIGNAL_PROCESSED) < 1:
            result.fail(f"{correlation} was deleted and left no end in the ledger", types)


def _check_policies(
    result: DecisionCheck, stack: DecisionStack, load: DecisionLoad, left: list[SignalProcessing]
) -> None:
    hashes = {hash_of(version): version for version in stack.policies}
    for signal in left:
        if signal.spec.remediation_request_ref.name in load.edited:
            continue
        versions = versions_in(signal)
        if len(versions) != 1:
            result.fail(f"{signal.metadata.name} was decided by {sorted(versions)}")
            continue
        classification = signal.status.signal_classification
        by_hash = hashes.get(classification.policy_hash if classification else "")
        if {by_hash} != versions:
            result.fail(f"{signal.metadata.name} names the hash of {by_hash} and was decided by {sorted(versions)}")


async def _check_ledger(result: DecisionCheck, stack: DecisionStack, load: DecisionLoad) -> None:
    connection = await asyncpg.connect(stack.parts.database, timeout=10)
    try:
        conflicts = await connection.fetch(
            """SELECT l.correlation_id FROM audit_conflicts c JOIN audit_ledger l USING (event_id)"""
        )
    finally:
        await connection.close()
    false = sorted({row["correlation_id"] for row in conflicts} - load.edited)
    if false:
        result.fail("events of signals that nobody edited were sent with two contents", false)
    async with open_store_client(StoreConfig(url=stack.parts.datastorage)) as store:
        if not (await store.verify()).is_valid:
            result.fail("the ledger does not verify")
