"""What the live view shows: the state of a run, put together from what is heard of it."""

import json
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from pytest_muster.records.journal import Line
from pytest_muster.terminal.screen import Row

ORDER = ("passed", "failed", "error", "infrastructure", "skipped", "pending", "xfailed", "xpassed")
MOVING = {"starting", "stopping"}
COLOURS = {"failed": "red", "died": "red", "starting": "yellow", "stopping": "yellow"}


@dataclass(frozen=True, kw_only=True)
class _Test:
    name: str
    since: float


@dataclass(frozen=True, kw_only=True)
class _Resource:
    event: str
    since: float
    took: float | None


class Board:
    """Hears of the run from several threads, and says at any time how it stands."""

    def __init__(self, *, expected: Mapping[str, float]) -> None:
        self._expected = expected
        self._lock = threading.Lock()
        self._workers: dict[str, _Test | None] = {}
        self._resources: dict[str, _Resource] = {}
        self._waiting: set[str] = set()
        self._total = 0
        self._counts: Counter[str] = Counter()
        self._begun: float | None = None

    def joins(self, worker: str) -> None:
        with self._lock:
            self._workers[worker] = None

    def leaves(self, worker: str) -> None:
        with self._lock:
            self._workers.pop(worker, None)

    def collected(self, tests: Sequence[str]) -> None:
        """What there is to run; every worker says the same."""
        with self._lock:
            if not self._total:
                self._total = len(tests)
                self._waiting = set(tests)

    def started(self, worker: str, test: str, at: float) -> None:
        with self._lock:
            if worker in self._workers and test in self._waiting:
                self._workers[worker] = _Test(name=test, since=at)
                self._begun = self._begun or at

    def reported(self, worker: str, report: pytest.TestReport, status: str) -> None:
        """One report of a test; `status` is the word under which pytest counts it, empty if it does not."""
        with self._lock:
            if status:
                self._counts[status] += 1
            if report.when in {"setup", "call"}:
                return
            self._waiting.discard(report.nodeid)  # after its teardown, or after the crash of its worker
            current = self._workers.get(worker)
            if current is not None and current.name == report.nodeid:
                self._workers[worker] = None

    @property
    def shares(self) -> bool:
        """Whether a shared resource is up, or was not seen to end."""
        return bool(self._resources)

    def resource(self, line: Line) -> None:
        with self._lock:
            if line["event"] == "stopped" and line.get("ok") is not False:
                self._resources.pop(line["name"], None)
            elif line["event"] != "probe":
                self._resources[line["name"]] = _Resource(event=line["event"], since=line["at"], took=line.get("took"))

    def rows(self, now: float) -> list[Row]:
        """The state of the run, a row for each worker; nothing before there is something to say."""
        with self._lock:
            if self._begun is None and not self._resources:
                return []
            rows = [_resource_row(name, resource, now) for name, resource in self._resources.items()]
            if self._begun is not None:
                rows += [_worker_row(name, test, now) for name, test in self._workers.items()]
                rows.append(self._summary(now))
            return rows

    def _summary(self, now: float) -> Row:
        known = [word for word in ORDER if self._counts[word]]
        counts = ", ".join(f"{self._counts[word]} {word}" for word in (*known, *sorted(set(self._counts) - set(ORDER))))
        done = self._total - len(self._waiting)
        parts = [f"{done} of {self._total}", counts, clock(now - (self._begun or now))]
        if (left := self._left(now)) is not None:
            parts.append(f"about {clock(left)} left")
        bad = self._counts["failed"] or self._counts["error"] or self._counts["infrastructure"]
        return Row(
            text=" · ".join(part for part in parts if part),
            colour="red" if bad else "green" if self._counts["passed"] else None,
            keep_end=False,
        )

    def _left(self, now: float) -> float | None:
        """Seconds until the tests are over, if an earlier run tells how long at least half of them take."""
        known = [self._expected[test] for test in self._waiting if test in self._expected]
        if not self._waiting or not self._workers or 2 * len(known) < len(self._waiting):
            return None
        work = sum(known) + median(known) * (len(self._waiting) - len(known))
        running = [test for test in self._workers.values() if test is not None]
        spent = sum(min(now - test.since, self._expected.get(test.name, 0.0)) for test in running)
        longest = max(known)
        return max((work - spent) / len(self._workers), min(longest, work - spent), 0.0)


def _worker_row(name: str, test: _Test | None, now: float) -> Row:
    if test is None:
        return Row(prefix=f"{name:<5}        ", text="idle", colour="light")
    return Row(prefix=f"{name:<5}{duration(now - test.since):>7} ", text=test.name)


def _resource_row(name: str, resource: _Resource, now: float) -> Row:
    took = now - resource.since if resource.event in MOVING else resource.took
    state = f"{resource.event} {duration(took)}" if took is not None else resource.event
    return Row(prefix=f"{state:<15}", text=name, colour=COLOURS.get(resource.event), keep_end=False)


def duration(seconds: float) -> str:
    """Seconds as somebody who waits reads them: 0.4 s, 12 s, 3:05."""
    seconds = max(seconds, 0.0)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 99.5 else clock(seconds)


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def expected_durations(run: Path) -> dict[str, float]:
    """How long each test took in the newest earlier run that has a record of tests."""
    earlier = sorted(path for path in run.parent.glob("*/record.jsonl") if path.parent.name < run.name)
    for record in reversed(earlier[-5:]):
        took: dict[str, float] = {}
        with record.open("rb") as file:
            for text in file:
                if text.startswith(b'{"type":"test"'):
                    try:
                        line = json.loads(text)
                        took[line["test"]] = line["stop"] - line["start"]
                    except (ValueError, KeyError, TypeError):
                        continue  # cut off, or of a worker that died
        if took:
            return took
    return {}
