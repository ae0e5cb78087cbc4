"""A run record as typed, frozen values.

Whatever the writer did not get to write is empty or None here: a record that was cut off is a record.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_muster.records.journal import SCHEMA, Outcome

LEAK_FAILURE = "LeakFailure"
"""The kind of error of a test that fails because of its leaks only; the lines `leak` say which."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """The conditions of a run."""

    schema: int = SCHEMA
    run: str = ""
    argv: tuple[str, ...] = ()
    rootdir: str = ""
    cwd: str = ""
    """Where pytest was called; the paths in `argv` are relative to it."""
    revision: str | None = None
    dirty: bool = False
    seed: int | None = None
    workers: int = 1
    dist: str = "no"
    python: str = ""
    pytest: str = ""
    xdist: str | None = None
    muster: str | None = None
    platform: str = ""
    cpus: int | None = None
    at: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Frame:
    file: str
    """Relative to the root of the project."""
    line: int
    function: str
    code: str = ""

    @property
    def source(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class Error:
    phase: str | None = None
    kind: str = ""
    kinds: tuple[str, ...] = ()
    """Class names along the chain of causes, its own first."""
    message: str = ""
    errno: int | None = None
    timed_out: bool = False
    """Whether a limit of time was over, as far as its class or pytest-timeout say so."""
    address: str | None = None
    """The file, or the host and port, that it is about, as far as that is known."""
    text: str = ""
    frames: tuple[Frame, ...] = ()
    """Of the project only, from the outermost to the innermost."""
    none: bool = False
    none_names: tuple[str, ...] = ()
    empty_names: tuple[str, ...] = ()
    globals: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PhaseRun:
    """Set-up, body or teardown of one test."""

    start: float
    took: float
    outcome: str


@dataclass(frozen=True, kw_only=True)
class TestRun:
    """One execution of one test."""

    __test__ = False  # its name makes pytest think it were a test

    test: str
    worker: str
    slot: int = 0
    order: int = 0
    outcome: Outcome
    serial: bool = False
    start: float
    stop: float
    phases: Mapping[str, PhaseRun] = field(default_factory=dict)
    reason: str | None = None
    error: Error | None = None
    teardown_error: Error | None = None
    output: Mapping[str, str] = field(default_factory=dict)
    leases: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        return self.outcome in {Outcome.FAILED, Outcome.INFRASTRUCTURE}

    @property
    def took(self) -> float:
        return self.stop - self.start


@dataclass(frozen=True, kw_only=True)
class Started:
    """A worker began this test; there is no `TestRun` for it if the run was cut off."""

    test: str
    worker: str
    order: int
    at: float


@dataclass(frozen=True, kw_only=True)
class WorkerEvent:
    worker: str
    slot: int = 0
    event: str
    at: float
    pid: int | None = None
    error: str | None = None
    signal: int | None = None
    """What ended it, if a signal did."""
    status: int | None = None
    """With what it exited otherwise."""


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What one worker, or a process that is alone, collected."""

    at: float
    worker: str | None = None
    count: int = 0
    tests: tuple[str, ...] = ()
    serial: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ResourceEvent:
    name: str
    event: str
    at: float
    scope: str = "shared"
    worker: str | None = None
    took: float | None = None
    error: str | None = None
    tail: str | None = None
    text: str | None = None
    pid: int | None = None
    ok: bool | None = None
    suspended: tuple[int, ...] = ()
    """Its processes that a signal has stopped, at a probe that failed."""


@dataclass(frozen=True, kw_only=True)
class SuitePhase:
    name: str
    start: float
    stop: float

    @property
    def took(self) -> float:
        return self.stop - self.start


@dataclass(frozen=True, kw_only=True)
class Activity:
    """What a process did that can be seen from outside; `details` depends on `kind`."""

    kind: str
    at: float
    worker: str
    test: str | None = None
    phase: str = "session"
    count: int = 1
    source: str | None = None
    """`file:line` of the innermost frame of the project."""
    function: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FixtureRun:
    """A fixture that outlives tests was set up."""

    name: str
    scope: str
    took: float
    at: float
    node: str | None = None
    worker: str | None = None
    test: str | None = None


@dataclass(frozen=True, kw_only=True)
class Globals:
    """The kinds of what the variables of a module held in one process, at one moment."""

    module: str
    at: float
    worker: str
    test: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Leak:
    kind: str
    description: str
    at: float
    source: str | None = None
    """`file:line` where it was created, as far as that is known."""
    test: str | None = None
    worker: str | None = None


@dataclass(frozen=True, kw_only=True)
class CollectionFailure:
    """A file or another node whose tests could not be collected."""

    node: str
    at: float
    worker: str | None = None
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class End:
    exit: int
    at: float
    stop_reason: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    wall: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    id: str
    directory: Path
    header: Header
    tests: tuple[TestRun, ...] = ()
    """In the order in which they ended."""
    attempts: tuple[TestRun, ...] = ()
    """Failed runs of tests that were run once more at once, by pytest-rerunfailures."""
    started: tuple[Started, ...] = ()
    collected: tuple[Collected, ...] = ()
    workers: tuple[WorkerEvent, ...] = ()
    resources: tuple[ResourceEvent, ...] = ()
    activities: tuple[Activity, ...] = ()
    fixtures: tuple[FixtureRun, ...] = ()
    globals: tuple[Globals, ...] = ()
    leaks: tuple[Leak, ...] = ()
    phases: tuple[SuitePhase, ...] = ()
    collection_failures: tuple[CollectionFailure, ...] = ()
    end: End | None = None
    """None if the run was killed, or still runs."""

    @cached_property
    def failures(self) -> tuple[TestRun, ...]:
        return tuple(test for test in self.tests if test.failed)

    @cached_property
    def unfinished(self) -> tuple[Started, ...]:
        """Tests that were begun and never ended."""
        ended = {(test.worker, test.test) for test in self.tests}
        return tuple(begun for begun in self.started if (begun.worker, begun.test) not in ended)

    def tests_of(self, worker: str) -> tuple[TestRun, ...]:
        """The tests of one worker, in their order."""
        return tuple(sorted((test for test in self.tests if test.worker == worker), key=lambda test: test.order))

    @property
    def root(self) -> Path:
        return Path(self.header.rootdir)
