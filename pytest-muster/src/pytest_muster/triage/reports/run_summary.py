"""The figures and phrases that every report of a run shares, all of them taken from its record."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pytest_muster.records.journal import Outcome
from pytest_muster.records.run_record import RunRecord, TestRun
from pytest_muster.triage.findings import Evidence, Finding

SURE = 0.85
LIKELY = 0.6


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """How a run went, in figures."""

    counts: Mapping[Outcome, int]
    """Every outcome is there."""
    collected: int
    ran: int
    seconds: float
    """From the start of the run to its end, or to the last that is known of it."""
    passed: bool
    complete: bool
    """False if the run was killed, or stopped before its tests were through."""
    stop_reason: str
    """Why the run ended, in words."""

    @property
    def failed(self) -> int:
        return self.counts[Outcome.FAILED] + self.counts[Outcome.INFRASTRUCTURE]

    @property
    def lines(self) -> tuple[str, str]:
        """The two lines with which a run ends."""
        counts = self.counts
        parts = [
            f"{counts[Outcome.PASSED]} Passed",
            f"{counts[Outcome.FAILED]} Failed",
            f"{counts[Outcome.PENDING]} Pending",
            f"{self.skipped} Skipped",
        ]
        if counts[Outcome.INFRASTRUCTURE]:
            parts.append(f"{counts[Outcome.INFRASTRUCTURE]} Infrastructure")
        verdict = "PASS!" if self.passed else "FAIL!"
        return (
            f"Ran {self.ran} of {self.collected} Specs in {self.seconds:.3f} seconds",
            f"{verdict} -- {' | '.join(parts)}",
        )

    @property
    def skipped(self) -> int:
        return self.counts[Outcome.SKIPPED]

    @property
    def rate(self) -> float:
        """Passed, of what ran."""
        return self.counts[Outcome.PASSED] / self.ran if self.ran else 0.0


def summarize(record: RunRecord) -> RunSummary:
    counts = Counter(dict.fromkeys(Outcome, 0))
    counts.update(last.outcome for last in {(test.worker, test.test): test for test in record.tests}.values())
    ran = counts[Outcome.PASSED] + counts[Outcome.FAILED] + counts[Outcome.INFRASTRUCTURE]
    known = {test.test for test in record.tests} | {begun.test for begun in record.unfinished}
    known |= {test for collected in record.collected for test in collected.tests}
    counted = max((collected.count for collected in record.collected), default=0)
    end = record.end
    last = max((test.stop for test in record.tests), default=record.header.at)
    return RunSummary(
        counts=counts,
        collected=max(len(known), counted),
        ran=ran,
        seconds=end.wall if end else last - record.header.at,
        passed=end is not None and end.exit == 0,
        complete=end is not None and end.stop_reason in {None, "finished"},
        stop_reason=(end.stop_reason or "finished") if end else "killed, or still running",
    )


def origin(record: RunRecord) -> float:
    """The moment from which reports count: when the first test began, or else the run."""
    return min((test.start for test in record.tests), default=record.header.at)


def moment(record: RunRecord, at: float) -> str:
    return f"{at - origin(record):+.2f} s"


def confidence_label(confidence: float) -> str:
    word = "sure" if confidence >= SURE else "likely" if confidence >= LIKELY else "possible"
    return f"{word}, {confidence:.0%}"


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def folded(tests: Iterable[str]) -> list[tuple[str, int]]:
    """Test functions with how many of their parameter sets are meant; a test that stands alone keeps its id."""
    by_function: dict[str, list[str]] = {}
    for test in tests:
        by_function.setdefault(test.partition("[")[0], []).append(test)
    return [
        (members[0], 1) if len(members) == 1 else (f"{function}[…]", len(members))
        for function, members in by_function.items()
    ]


def where(record: RunRecord, evidence: Evidence) -> list[str]:
    """Moment, worker and source of an observation, as far as they are known."""
    parts = [moment(record, evidence.at)] if evidence.at is not None else []
    return parts + [part for part in (evidence.worker, evidence.source) if part]


def failures_of(record: RunRecord, finding: Finding) -> list[TestRun]:
    """The failed runs that a finding explains, in the order in which they ended."""
    wanted = set(finding.tests)
    return [test for test in record.failures if test.test in wanted]


def command(record: RunRecord) -> str:
    return " ".join(["pytest", *record.header.argv])
