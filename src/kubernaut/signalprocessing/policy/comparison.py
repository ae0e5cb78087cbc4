"""The answers in which two policies differ, over past signals or over a table of inputs."""

import asyncio
from collections.abc import AsyncIterable
from typing import Any

import msgspec

from kubernaut.signalprocessing.policy import input_table
from kubernaut.signalprocessing.policy.checking import lint_apart
from kubernaut.signalprocessing.policy.documents import policy_input_of
from kubernaut.signalprocessing.policy.input_table import Assignment, applied
from kubernaut.signalprocessing.policy.lint import LintRequest
from kubernaut.signalprocessing.policy.live import PolicyVersion
from kubernaut.signalprocessing.policy.outcome import changes, outcome
from kubernaut.signalprocessing.policy.recorded import RecordedDecision
from kubernaut.signalprocessing.policy.replay import replay
from kubernaut.signalprocessing.policy.sources import Form

COMBINATIONS = 2_000
_BATCH = 200


class Difference(msgspec.Struct, kw_only=True):
    """One part of the answer that is another value, however often."""

    part: str
    before: Any
    after: Any
    count: int
    example: Any
    """An input for which it is so: the name of a signal, or the values that the policies read."""


class Comparison(msgspec.Struct, kw_only=True):
    inputs: int
    differing: int
    differences: list[Difference]


class _Collector:
    def __init__(self) -> None:
        self._found: dict[bytes, Difference] = {}
        self.inputs = 0
        self.differing = 0

    def add(self, parts: dict[str, tuple[Any, Any]], example: Any) -> None:
        self.differing += bool(parts)
        for part, (before, after) in parts.items():
            key = msgspec.json.encode((part, before, after), order="sorted")
            known = self._found.get(key)
            if known is None:
                self._found[key] = Difference(part=part, before=before, after=after, count=1, example=example)
            else:
                known.count += 1

    def result(self) -> Comparison:
        found = sorted(self._found.values(), key=lambda each: (each.part, -each.count))
        return Comparison(inputs=self.inputs, differing=self.differing, differences=found)


async def compare_recorded(
    decisions: AsyncIterable[RecordedDecision], before: PolicyVersion, after: PolicyVersion
) -> Comparison:
    """Over past signals."""
    report = await replay(decisions, after, before)
    collector = _Collector()
    collector.inputs = report.signals - report.without_facts
    for change in report.changes:
        collector.add(change.parts, change.signal)
    return collector.result()


async def compare_table(before: PolicyVersion, after: PolicyVersion) -> Comparison:
    """Over the representative inputs and the values that either policy compares."""
    linted = [
        await lint_apart(
            LintRequest(
                files=[*each.sources.files],
                entries=each.sources.entries,
                is_per_dimension=each.sources.form is not Form.UNIFIED,
            )
        )
        for each in (before, after)
    ]
    candidates = [each for result in linted for each in result.candidates]
    bases = input_table.documents()
    rows: list[tuple[dict[str, Any], Assignment]] = [(base, {}) for base in bases]
    for number, assignment in enumerate(input_table.assignments(candidates, COMBINATIONS)):
        rows.append((bases[number % len(bases)], assignment))
    collector = _Collector()
    for start in range(0, len(rows), _BATCH):
        documents = [applied(base, assignment) for base, assignment in rows[start : start + _BATCH]]
        inputs = [policy_input_of(document) for document in documents]
        old = await asyncio.gather(*(before.decide(each) for each in inputs))
        new = await asyncio.gather(*(after.decide(each) for each in inputs))
        collector.inputs += len(documents)
        for document, one, other in zip(documents, old, new, strict=True):
            collector.add(changes(outcome(one), outcome(other)), _read_values(document, candidates))
    return collector.result()


def _read_values(document: dict[str, Any], candidates: list[Any]) -> dict[str, Any]:
    """What the policies read of an input, by path."""
    values: dict[str, Any] = {}
    for path in map(input_table.place_of, (each.path for each in candidates)):
        part: Any = document
        for name in path:
            part = part.get(name) if isinstance(part, dict) else None
        if part is not None:
            values[".".join(path)] = part
    return values
