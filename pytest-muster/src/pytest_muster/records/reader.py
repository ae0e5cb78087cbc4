"""A run record as typed, frozen values, and the way from what a user typed to the run that was meant.

Whatever the writer did not get to write is empty or None here: a record that was cut off is a record.
Fields and lines that this version does not know are left out; a record of a newer schema is refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pytest_muster.records.journal import SCHEMA, Line, Outcome, lines, read
from pytest_muster.records.run import muster_directory

LATEST = "latest"

LEAK_FAILURE = "LeakFailure"
"""The kind of error of a test that fails because of its leaks only; the lines `leak` say which."""


class RecordError(Exception):
    """There is no such record, or it cannot be read; the text says what to do."""


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


def load(directory: Path, *, workers: bool = True) -> RunRecord:
    """The record in a run's directory. Raises `RecordError` where there is none, or a newer one.

    Without `workers` it leaves out what the workers wrote themselves (`started`, `activities`, `globals`): the outcomes
    of many runs are then read quickly.
    """
    if not (directory / "record.jsonl").exists():
        raise RecordError(f"{directory} holds no record.jsonl: give the directory of a run, or its id")
    by_type: dict[str, list[Line]] = {}
    for line in read(directory) if workers else lines(directory / "record.jsonl"):
        by_type.setdefault(line["type"], []).append(line)
    header = _build(Header, by_type.get("run", [{}])[0])
    if header.schema > SCHEMA:
        raise RecordError(
            f"the record {directory.name} has schema {header.schema}, written by pytest-muster {header.muster}; "
            f"this version reads up to schema {SCHEMA}: use the newer one"
        )

    def all_of(type: str, cls: type[_T]) -> tuple[_T, ...]:
        return tuple(found for line in by_type.get(type, ()) if (found := _tolerant(cls, line)) is not None)

    ends = all_of("end", End)
    return RunRecord(
        id=header.run or directory.name,
        directory=directory,
        header=header,
        tests=all_of("test", TestRun),
        started=all_of("started", Started),
        collected=all_of("collected", Collected),
        workers=all_of("worker", WorkerEvent),
        resources=all_of("resource", ResourceEvent),
        activities=all_of("activity", Activity),
        fixtures=all_of("fixture", FixtureRun),
        globals=all_of("globals", Globals),
        leaks=all_of("leak", Leak),
        phases=all_of("phase", SuitePhase),
        collection_failures=all_of("collection_failure", CollectionFailure),
        end=ends[-1] if ends else None,
    )


def runs(directory: Path) -> list[Path]:
    """The runs that a `.muster` directory holds, the oldest first."""
    found = (record.parent for record in directory.glob("runs/*/record.jsonl"))
    return sorted(found, key=lambda run: (run.name.partition("-")[0], (run / "record.jsonl").stat().st_mtime_ns))


def newest(directory: Path) -> Path:
    """The newest run that a `.muster` directory holds."""
    found = runs(directory)
    if not found:
        raise RecordError(f"{directory} holds no run: run pytest there first")
    return found[-1]


def home(start: Path | None = None) -> Path:
    """The `.muster` directory of `start` (the current directory) or of the nearest of its parents."""
    start = (start or Path.cwd()).resolve()
    for directory in (start, *start.parents):
        if (muster_directory(directory) / "runs").is_dir():
            return muster_directory(directory)
    raise RecordError(f"there is no .muster directory in {start} nor above it: run pytest with pytest-muster first")


def find(run: str | None = None, start: Path | None = None) -> Path:
    """The directory of the run that a RUN argument means.

    None and `latest` mean the newest, `latest~1` the one before it; otherwise it is the beginning of an id, or a path.
    """
    if run and (Path(run) / "record.jsonl").exists():
        return Path(run)
    if run and Path(run).name == "record.jsonl" and Path(run).exists():
        return Path(run).parent
    directory = home(start)
    if run is None or run == LATEST:
        return newest(directory)
    known = runs(directory)
    stem, tilde, back = run.partition("~")
    if stem == LATEST and tilde and back.isdecimal():
        if int(back) >= len(known):
            raise RecordError(f"{run}: there are only {len(known)} runs in {directory}")
        return known[-1 - int(back)]
    matching = [one for one in known if one.name.startswith(run)]
    if len(matching) == 1:
        return matching[0]
    names = ", ".join(one.name for one in (matching or known)[-5:]) or "none"
    what = "is the beginning of several runs" if matching else f"is no run in {directory}"
    raise RecordError(f"{run!r} {what}; the newest of them: {names}" if matching else f"{run!r} {what}; known: {names}")


_T = TypeVar("_T")

_CONVERSIONS: dict[type, dict[str, Callable[[Any], Any]]] = {}


def _tolerant(cls: type[_T], line: Line) -> _T | None:
    """One value, or None if the line lacks what the value cannot be without."""
    try:
        return _build(cls, line)
    except (KeyError, TypeError, ValueError):
        return None


def _build(cls: type[_T], line: Mapping[str, Any]) -> _T:
    values: dict[str, Any] = {}
    convert = _CONVERSIONS.get(cls, {})
    for one in fields(cls):  # type: ignore[arg-type]  # every class given here is a dataclass
        if line.get(one.name) is None:
            if one.default is MISSING and one.default_factory is MISSING:
                raise KeyError(one.name)
            continue
        value = line[one.name]
        if one.name in convert:
            value = convert[one.name](value)
        elif isinstance(value, list):
            value = tuple(value)
        values[one.name] = value
    if cls is Activity:
        values["details"] = {key: value for key, value in line.items() if key not in values and key not in _ENVELOPE}
    return cls(**values)


_ENVELOPE = {"type", "test", "source", "function"}


def _error(value: Mapping[str, Any]) -> Error:
    return _build(Error, value)


_CONVERSIONS[Error] = {"frames": lambda frames: tuple(_build(Frame, frame) for frame in frames)}
_CONVERSIONS[TestRun] = {
    "outcome": Outcome,
    "phases": lambda phases: {name: _build(PhaseRun, phase) for name, phase in phases.items()},
    "error": _error,
    "teardown_error": _error,
}
