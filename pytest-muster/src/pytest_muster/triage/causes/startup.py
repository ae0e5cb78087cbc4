"""A shared resource did not start, so that no test ran: which one, with which words, and the end of its log."""

from collections.abc import Iterator, Sequence

from pytest_muster.records.run_record import ResourceEvent
from pytest_muster.triage.findings import Cause, Evidence, Finding
from pytest_muster.triage.patterns import Pattern
from pytest_muster.triage.run_view import RunView

MAX_LOG_LINES = 5


def claims(view: RunView, patterns: Sequence[Pattern]) -> Iterator[Finding]:
    """One finding for each shared resource that failed; a pattern of the project may know the cause by its words."""
    for event in view.record.resources:
        if event.event == "failed" and event.scope == "shared":
            yield _finding(event, patterns)


def _finding(event: ResourceEvent, patterns: Sequence[Pattern]) -> Finding:
    error = (event.error or "no error was recorded").strip()
    tail = [line for line in (event.tail or "").splitlines() if line.strip()]
    known = [(pattern, pattern.line([error.partition(":")[0]], "\n".join([error, *tail]))) for pattern in patterns]
    speaking = [(pattern, line) for pattern, line in known if line and pattern.may_claim]
    evidence = [Evidence(text=error, at=event.at)]
    evidence += [Evidence(text=f"its log: {line}") for line in tail[-MAX_LOG_LINES:]]
    evidence += [Evidence(text=f"{pattern.title} (pattern {pattern.name}): {line}") for pattern, line in speaking]
    first = speaking[0][0] if speaking else None
    return Finding(
        cause=first.cause if first else Cause.INFRASTRUCTURE_GONE,
        title=f"{event.name} did not start, so no test ran: {first.title if first else error.splitlines()[0][:200]}",
        confidence=0.9,
        tests=(),
        evidence=tuple(evidence),
        remedy=(first.remedy if first else "") or f"Repair the set-up of {event.name}; the tests are not to blame.",
        resource=event.name,
    )
