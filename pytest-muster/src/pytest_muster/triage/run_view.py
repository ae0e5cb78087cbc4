"""What happened in a run, arranged for the questions that causes ask: who failed when, and who touched what.

A *target* is something outside of the tests that can be named: an address, a path, a database file. Two tests that
touched one target may have met there.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pytest_muster.records.journal import Outcome
from pytest_muster.records.run_record import Activity, Error, ResourceEvent, RunRecord, TestRun

LOOPBACK = {"localhost", "127.0.0.1", "::1", "0.0.0.0", "::", "", "ip6-localhost"}  # noqa: S104  # names, not a bind


@dataclass(frozen=True, kw_only=True)
class Target:
    kind: str
    """`address`, `path` or `database`."""
    name: str

    def __str__(self) -> str:
        return self.name

    @property
    def is_file(self) -> bool:
        return self.kind != "address"


@dataclass(frozen=True, kw_only=True)
class Access:
    """One activity about one target."""

    target: Target
    activity: Activity

    @property
    def at(self) -> float:
        return self.activity.at

    @property
    def worker(self) -> str:
        return self.activity.worker


@dataclass(frozen=True, kw_only=True)
class Failure:
    run: TestRun
    error: Error
    at: float
    """When the phase that failed ended."""

    @property
    def test(self) -> str:
        return self.run.test

    @property
    def worker(self) -> str:
        return self.run.worker

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for failures that look alike: class, errno and innermost line of the project."""
        innermost = self.error.frames[-1] if self.error.frames else None
        place = (innermost.file, innermost.line) if innermost else self.test
        return (self.error.kind, self.error.errno, place)

    @property
    def source(self) -> str | None:
        return self.error.frames[-1].source if self.error.frames else None

    def is_like(self, other: "Failure") -> bool:
        """Whether two failures of a test are the same: an error of the same class at the same place of the project."""
        return self.class_and_place == other.class_and_place

    @property
    def class_and_place(self) -> tuple[object, ...]:
        """Of its error, in the project."""
        innermost = self.error.frames[-1] if self.error.frames else None
        return (self.error.kind, (innermost.file, innermost.line) if innermost else self.error.phase)


class RunView:
    def __init__(self, record: RunRecord) -> None:
        self.record = record

    @cached_property
    def failures(self) -> tuple[Failure, ...]:
        """In the order in which they failed."""
        found = [failure_of(run) for run in self.record.failures]
        return tuple(sorted(found, key=lambda failure: failure.at))

    def leaks_of(self, run: TestRun) -> frozenset[tuple[str, str]]:
        """Kind and place of what a test left behind."""
        return frozenset(
            (leak.kind, leak.source or leak.description)
            for leak in self.record.leaks
            if (leak.test, leak.worker) == (run.test, run.worker)
        )

    @cached_property
    def passed(self) -> tuple[TestRun, ...]:
        return tuple(run for run in self.record.tests if run.outcome is Outcome.PASSED)

    @cached_property
    def workers(self) -> tuple[str, ...]:
        """Who ran tests."""
        return tuple(dict.fromkeys(run.worker for run in self.record.tests))

    @cached_property
    def tests(self) -> tuple[str, ...]:
        """All that ran, in the order in which they began."""
        return tuple(run.test for run in sorted(self.record.tests, key=lambda run: run.start))

    @cached_property
    def collected(self) -> tuple[str, ...]:
        """All that ran, in the order in which one process would run it."""
        places = {test: place for one in self.record.collected for place, test in enumerate(one.tests)}
        return tuple(sorted(dict.fromkeys(self.tests), key=lambda test: places.get(test, len(places))))

    @property
    def is_parallel(self) -> bool:
        return len(self.workers) > 1

    @cached_property
    def accesses(self) -> tuple[Access, ...]:
        found = [access for activity in self.record.activities for access in _accesses(activity)]
        return tuple(sorted(found, key=lambda access: access.at))

    @cached_property
    def by_target(self) -> Mapping[Target, tuple[Access, ...]]:
        return _grouped(self.accesses, lambda access: access.target)

    @cached_property
    def by_test(self) -> Mapping[tuple[str, str], tuple[Access, ...]]:
        """By worker and test."""
        return _grouped(
            (access for access in self.accesses if access.activity.test is not None),
            lambda access: (access.worker, str(access.activity.test)),
        )

    def accesses_of(self, run: TestRun) -> tuple[Access, ...]:
        return self.by_test.get((run.worker, run.test), ())

    def targets_of(self, failure: Failure) -> dict[Target, None]:
        """What a failed test touched, and what its error is about, that first."""
        named = error_target(failure.error)
        touched = [access.target for access in self.accesses_of(failure.run)]
        return dict.fromkeys([*([named] if named else []), *touched])

    @cached_property
    def _runs(self) -> Mapping[tuple[str, str], TestRun]:
        return {(run.worker, run.test): run for run in self.record.tests}

    def phase_passed(self, activity: Activity) -> bool:
        """Whether the phase of a test in which something happened passed, or it happened outside of tests."""
        if activity.test is None:
            return True
        run = self._runs.get((activity.worker, activity.test))
        phase = run.phases.get(activity.phase) if run else None
        return phase is not None and phase.outcome == Outcome.PASSED

    @cached_property
    def last_test_of(self) -> Mapping[str, TestRun]:
        """The last test of each worker; what is shared by its tests is torn down in that one's teardown."""
        return {worker: self.record.tests_of(worker)[-1] for worker in self.workers}

    def tests_before(self, run: TestRun) -> tuple[TestRun, ...]:
        """What ran before it in the same process."""
        return tuple(other for other in self.record.tests_of(run.worker) if other.order < run.order)

    def tests_beside(self, run: TestRun) -> tuple[TestRun, ...]:
        """What ran at the same time on other workers."""
        return tuple(
            other
            for other in self.record.tests
            if other.worker != run.worker and other.start < run.stop and run.start < other.stop
        )

    @cached_property
    def began(self) -> float:
        return min((run.start for run in self.record.tests), default=self.record.header.at)

    def elapsed(self, at: float) -> str:
        """Seconds since the first test began."""
        return f"{at - self.began:.2f} s"

    @cached_property
    def resource_outages(self) -> tuple[ResourceEvent, ...]:
        """Shared things that went away while they were needed."""
        gone = {"died", "probe"}
        return tuple(
            event
            for event in self.record.resources
            if event.event in gone and (event.event == "died" or event.ok is False)
        )

    def display_name(self, target: Target) -> str:
        """The target as a reader of the project knows it."""
        if target.is_file and self.record.header.rootdir:
            path = Path(target.name)
            if path.is_relative_to(self.record.root):
                return str(path.relative_to(self.record.root))
        return target.name


def failure_of(run: TestRun) -> Failure:
    error = run.error or run.teardown_error or Error()
    phase = run.phases.get(error.phase or "")
    return Failure(run=run, error=error, at=phase.start + phase.took if phase else run.stop)


def error_target(error: Error) -> Target | None:
    """What an error says it is about."""
    if not error.address:
        return None
    host, colon, port = error.address.rpartition(":")
    if colon and port.isdecimal() and "/" not in host:
        return address(host, int(port))
    return Target(kind="path", name=error.address.partition(" -> ")[0])


def address(host: str, port: int) -> Target:
    """Every name of this machine is the same target; which family was used is said by the activity."""
    return Target(kind="address", name=f"{'localhost' if host in LOOPBACK else host}:{port}")


def _accesses(activity: Activity) -> Iterator[Access]:
    details = activity.details
    match activity.kind:
        case "connect" | "listen" if details.get("address_family") == "unix":
            yield Access(target=Target(kind="address", name=str(details.get("path"))), activity=activity)
        case "connect" | "listen" if details.get("port"):
            yield Access(target=address(str(details.get("host")), int(details["port"])), activity=activity)
        case "write" | "remove" | "mkdir" | "rename":
            yield Access(target=Target(kind="path", name=str(details.get("path"))), activity=activity)
            if "to" in details:
                yield Access(target=Target(kind="path", name=str(details["to"])), activity=activity)
        case "sqlite":
            yield Access(target=Target(kind="database", name=str(details.get("path"))), activity=activity)


_Key = TypeVar("_Key")


def _grouped(accesses: Iterable[Access], key: Callable[[Access], _Key]) -> dict[_Key, tuple[Access, ...]]:
    found: dict[_Key, list[Access]] = {}
    for access in accesses:
        found.setdefault(key(access), []).append(access)
    return {one: tuple(several) for one, several in found.items()}
