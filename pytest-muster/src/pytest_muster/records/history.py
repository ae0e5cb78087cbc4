"""What the recorded runs say together: which tests are slow, and which are flaky.

Slow is the median over the runs in which a test passed, with set-up and body apart.

Flaky is what passed and failed with the same code: at one revision of the repository, with nothing uncommitted. Runs
with uncommitted changes, or without a revision, are left out of the count; `--any-revision` puts all runs together.
The failure rate is failures ÷ (failures + passes) over the counted runs of the revisions at which it did both, with
Wilson's interval of 95 %. An attempt after which pytest-rerunfailures ran the test once more is one of the failures.
Skipped and pending tests, and those whose environment failed, are not counted.
Tests that fail in the same runs are named together, for they seldom have a cause each.
"""

import argparse
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from pytest_muster.records.journal import Outcome
from pytest_muster.records.reader import RecordError, home, load, runs
from pytest_muster.records.run_record import RunRecord, TestRun

MIN_OVERLAP = 0.6
"""Two tests fail together if the runs in which both failed are at least this part of those in which one did."""


@dataclass(frozen=True, kw_only=True)
class Slow:
    """The medians of one test, in seconds."""

    test: str
    runs: int
    total: float
    setup: float
    call: float
    teardown: float
    longest: float


@dataclass(frozen=True, kw_only=True)
class Failure:
    run: str
    worker: str
    slot: int
    order: int
    kind: str


@dataclass(frozen=True, kw_only=True)
class Flaky:
    test: str
    passed: int
    failed: int
    low: float
    high: float
    """The bounds of the failure rate."""
    failures: tuple[Failure, ...]

    @property
    def rate(self) -> float:
        return self.failed / (self.passed + self.failed)

    @property
    def slots(self) -> dict[int, int]:
        """How often it failed in which slot."""
        return dict(sorted(Counter(failure.slot for failure in self.failures).items()))


@dataclass(frozen=True, kw_only=True)
class FailureGroup:
    """Flaky tests that fail in the same runs."""

    tests: tuple[str, ...]
    runs: tuple[str, ...]
    """The runs in which most of them failed."""


@dataclass(frozen=True, kw_only=True)
class History:
    runs: tuple[str, ...]
    counted: int
    """How many of them were counted for flakiness."""
    slow: tuple[Slow, ...]
    flaky: tuple[Flaky, ...]
    failure_groups: tuple[FailureGroup, ...]


def history_of(records: Sequence[RunRecord], *, any_revision: bool = False) -> History:
    """What these runs say; the slowest and the flakiest first."""
    counted = [record for record in records if any_revision or (record.header.revision and not record.header.dirty)]
    flaky = tuple(sorted(_flaky(counted, any_revision=any_revision), key=lambda one: (-one.failed, one.test)))
    return History(
        runs=tuple(record.id for record in records),
        counted=len(counted),
        slow=tuple(sorted(_slow(records), key=lambda one: (-one.total, one.test))),
        flaky=flaky,
        failure_groups=tuple(_failure_groups(flaky)),
    )


def _slow(records: Iterable[RunRecord]) -> Iterable[Slow]:
    passed: dict[str, list[TestRun]] = defaultdict(list)
    for record in records:
        for test in record.tests:
            if test.outcome is Outcome.PASSED:
                passed[test.test].append(test)
    for name, times in passed.items():
        totals = [sum(phase.took for phase in test.phases.values()) for test in times]

        def of(phase: str, times: list[TestRun] = times) -> float:
            return median(test.phases[phase].took if phase in test.phases else 0.0 for test in times)

        yield Slow(
            test=name,
            runs=len(times),
            total=median(totals),
            setup=of("setup"),
            call=of("call"),
            teardown=of("teardown"),
            longest=max(totals),
        )


def _flaky(records: Iterable[RunRecord], *, any_revision: bool) -> Iterable[Flaky]:
    at: dict[str, dict[str, list[tuple[RunRecord, TestRun]]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        revision = "" if any_revision else record.header.revision or ""
        for test in (*record.tests, *record.attempts):
            if test.outcome in {Outcome.PASSED, Outcome.FAILED}:
                at[test.test][revision].append((record, test))
    for name, revisions in at.items():
        both = [
            found
            for found in revisions.values()
            if {test.outcome for _, test in found} == {Outcome.PASSED, Outcome.FAILED}
        ]
        if not both:
            continue
        counted = [one for found in both for one in found]
        failures = tuple(_failure(record, test) for record, test in counted if test.outcome is Outcome.FAILED)
        low, high = wilson(len(failures), len(counted))
        yield Flaky(
            test=name,
            passed=len(counted) - len(failures),
            failed=len(failures),
            low=low,
            high=high,
            failures=failures,
        )


def _failure(record: RunRecord, test: TestRun) -> Failure:
    kind = test.error.kind if test.error else ""
    return Failure(run=record.id, worker=test.worker, slot=test.slot, order=test.order, kind=kind)


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The interval in which a rate lies with 95 %."""
    z = 1.959964
    rate = hits / of
    middle = (rate + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(rate * (1 - rate) / of + z * z / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def _failure_groups(flaky: Sequence[Flaky]) -> Iterable[FailureGroup]:
    groups: list[list[Flaky]] = []
    for one in flaky:
        for group in groups:
            if _alike(_runs_of(one), _runs_of(group[0])):
                group.append(one)
                break
        else:
            groups.append([one])
    for group in groups:
        if len(group) > 1:
            times = Counter(run for one in group for run in _runs_of(one))
            common = tuple(sorted(run for run, count in times.items() if 2 * count > len(group)))
            yield FailureGroup(tests=tuple(one.test for one in group), runs=common)


def _runs_of(flaky: Flaky) -> frozenset[str]:
    return frozenset(failure.run for failure in flaky.failures)


def _alike(one: frozenset[str], other: frozenset[str]) -> bool:
    return len(one & other) >= MIN_OVERLAP * len(one | other)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runs", type=int, default=50, metavar="N", help="read the newest N runs (default: %(default)s)"
    )
    parser.add_argument("--slow", action="store_true", help="show the slow tests only")
    parser.add_argument("--flaky", action="store_true", help="show the flaky tests only")
    parser.add_argument(
        "--limit", type=int, default=20, metavar="N", help="show N tests of each (default: %(default)s)"
    )
    parser.add_argument(
        "--any-revision",
        action="store_true",
        help="count a test as flaky that passed and failed in whichever runs, also with changed code",
    )
    parser.add_argument("--json", action="store_true", help="write JSON to standard output")


def run(arguments: argparse.Namespace) -> int:
    try:
        known = runs(home())[-max(arguments.runs, 1) :]
        records = [load(directory, workers=False) for directory in known]
    except RecordError as problem:
        print(f"muster history: {problem}", file=sys.stderr)  # noqa: T201
        return 3
    history = history_of(records, any_revision=arguments.any_revision)
    write = sys.stdout.write
    if arguments.json:
        write(json.dumps(as_json(history), indent=2) + "\n")
        return 0
    both = arguments.slow == arguments.flaky
    parts = [f"{len(history.runs)} runs, {history.runs[0]} to {history.runs[-1]}"]
    if both or arguments.slow:
        parts.append(_slow_table(history, arguments.limit))
    if both or arguments.flaky:
        parts.append(_flaky_table(history, arguments.limit, any_revision=arguments.any_revision))
    write("\n\n".join(parts) + "\n")
    return 0


def as_json(history: History) -> dict[str, object]:
    """The history as it is written with `--json`: fields as of the dataclasses, and `rate` and `slots` of the flaky."""
    plain = asdict(history)
    for one, flaky in zip(plain["flaky"], history.flaky, strict=True):
        one |= {"rate": flaky.rate, "slots": flaky.slots}
    return plain


def _slow_table(history: History, limit: int) -> str:
    if not history.slow:
        return "No test has passed in these runs."
    shown = history.slow[:limit]
    total = sum(one.total for one in history.slow) or 1.0
    rows: list[tuple[str, ...]] = [("median", "set-up", "body", "teardown", "longest", "runs", "test")]
    rows += [
        (*map(_seconds, (one.total, one.setup, one.call, one.teardown, one.longest)), str(one.runs), one.test)
        for one in shown
    ]
    part = sum(one.total for one in shown) / total
    return f"Slowest {len(shown)} of {len(history.slow)} tests, {part:.0%} of the time of all\n{_table(rows)}"


def _flaky_table(history: History, limit: int, *, any_revision: bool) -> str:
    where = "whatever the code was" if any_revision else "at one revision with nothing uncommitted"
    basis = f"{history.counted} of {len(history.runs)} runs count: flaky is what passed and failed {where}"
    if not history.flaky:
        hint = "" if any_revision or history.counted else "; `--any-revision` counts them all"
        return f"No flaky tests. {basis}{hint}."
    rows: list[tuple[str, ...]] = [("failed", "rate", "95 %", "slots", "newest failure", "test")]
    for one in history.flaky[:limit]:
        slots = " ".join(f"{slot}x{times}" for slot, times in one.slots.items())
        newest = max(one.failures, key=lambda failure: failure.run)
        bounds = f"{one.low:.0%}-{one.high:.0%}"
        failed = f"{one.failed}/{one.failed + one.passed}"
        rows.append((failed, f"{one.rate:.0%}", bounds, slots, f"{newest.run} {newest.worker}", one.test))
    text = f"Flaky tests. {basis}\n{_table(rows)}"
    for group in history.failure_groups:
        text += f"\n\n{len(group.tests)} of these fail together, in {', '.join(group.runs)}:\n  "
        text += "\n  ".join(group.tests) + f"\n  look for what they share: muster triage {group.runs[-1]}"
    return text


def _seconds(value: float) -> str:
    return f"{value:.3f} s" if value >= 0.001 else "<1 ms"


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) - 1
    return "\n".join(
        "  ".join(cell if place == last else cell.rjust(widths[place]) for place, cell in enumerate(row)).rstrip()
        for row in rows
    )
