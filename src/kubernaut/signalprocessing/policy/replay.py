"""Past signals on another policy: what it would have decided otherwise."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any

import msgspec

from kubernaut.signalprocessing.policy.live import PolicyVersion
from kubernaut.signalprocessing.policy.outcome import COMPARED, outcome
from kubernaut.signalprocessing.policy.recorded import RecordedDecision

BATCH = 256
"""Signals that are decided at the same time."""


class Change(msgspec.Struct, kw_only=True, frozen=True, rename="camel"):
    """One signal that would be decided otherwise."""

    signal: str
    correlation_id: str
    decided_at: str
    alert: str
    parts: dict[str, tuple[Any, Any]]
    """What was decided and what would be, by part."""
    rule_before: str = ""
    rule_after: str = ""


class ReplayReport(msgspec.Struct, kw_only=True, rename="camel"):
    """What a policy would change."""

    signals: int = 0
    without_facts: int = 0
    """Signals that cannot be replayed: recorded by an earlier version, or their payload is gone."""
    incomplete: int = 0
    """Replayed signals some of whose facts were left out or redacted when they were recorded."""
    changes: list[Change] = []
    totals: dict[str, int] = {}
    """Changes by part."""
    failures: dict[str, int] = {}
    """Signals for which a rule of the policy fails, by rule."""


async def replay(
    decisions: AsyncIterable[RecordedDecision], policy: PolicyVersion, baseline: PolicyVersion | None = None
) -> ReplayReport:
    """What the policy decides otherwise than was recorded, or than the baseline decides."""
    report = ReplayReport()
    totals: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    async for batch in _batches(decisions):
        report.signals += len(batch)
        known = [each for each in batch if each.facts]
        report.without_facts += len(batch) - len(known)
        report.incomplete += sum(bool(each.facts and each.facts.omitted) for each in known)
        after = await _decide(policy, known)
        before = await _decide(baseline, known) if baseline else [each.outcome for each in known]
        for recorded, old, new in zip(known, before, after, strict=True):
            failures.update(each["rule"] for each in new["failures"])
            parts = {part: (old[part], new[part]) for part in COMPARED if part in old and old[part] != new[part]}
            if parts:
                totals.update(parts.keys())
                report.changes.append(_change(recorded, parts, old, new))
    report.totals, report.failures = dict(totals), dict(failures)
    return report


async def in_order(decisions: Iterable[RecordedDecision]) -> AsyncIterator[RecordedDecision]:
    """The decisions of a file, as `replay` takes them."""
    for each in decisions:
        yield each


async def _decide(policy: PolicyVersion, known: list[RecordedDecision]) -> list[dict[str, Any]]:
    inputs = [each.policy_input for each in known]
    decided = await asyncio.gather(*(policy.decide(each) for each in inputs if each))
    return [outcome(each) for each in decided]


async def _batches(decisions: AsyncIterable[RecordedDecision]) -> AsyncIterator[list[RecordedDecision]]:
    batch: list[RecordedDecision] = []
    async for each in decisions:
        batch.append(each)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _change(
    recorded: RecordedDecision, parts: dict[str, tuple[Any, Any]], old: dict[str, Any], new: dict[str, Any]
) -> Change:
    return Change(
        signal=recorded.signal,
        correlation_id=recorded.correlation_id,
        decided_at=recorded.decided_at,
        alert=recorded.alert,
        parts=parts,
        rule_before=old.get("policyName", recorded.policy_name),
        rule_after=new["policyName"],
    )


def summary(report: ReplayReport) -> str:
    """The report in one line, such as `312 signals, 9 would change priority`."""
    replayed = report.signals - report.without_facts
    changed = [f"{report.totals[part]} would change {part}" for part in reversed(COMPARED) if part in report.totals]
    changed.sort(key=lambda text: "priority" not in text)
    parts = [f"{replayed} signal{'s' * (replayed != 1)}", *(changed or ["none would change"])]
    if report.without_facts:
        parts.append(f"{report.without_facts} more without recorded facts")
    return ", ".join(parts)
