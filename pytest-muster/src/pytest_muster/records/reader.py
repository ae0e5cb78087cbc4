"""Reads run records, and finds the run that a user meant.

Fields and lines that this version does not know are left out; a record of a newer schema is rejected.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from pytest_muster.records.journal import SCHEMA, Line, Outcome, lines, read
from pytest_muster.records.run import existing_directories
from pytest_muster.records.run_record import (
    Activity,
    Collected,
    CollectionFailure,
    End,
    Error,
    FixtureRun,
    Frame,
    Globals,
    Header,
    Leak,
    PhaseRun,
    ResourceEvent,
    RunRecord,
    Started,
    SuitePhase,
    TestRun,
    WorkerEvent,
)

LATEST = "latest"


class RecordError(Exception):
    """There is no such record, or it cannot be read; the text says what to do."""


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
        attempts=all_of("attempt", TestRun),
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
    """The `.muster` directory of `start` (the current directory) or of the nearest of its parents.

    Of two, as when a project could not be written at first, that with the newest run.
    """
    start = (start or Path.cwd()).resolve()
    for directory in (start, *start.parents):
        found = existing_directories(directory)
        if found:
            return max(found, key=lambda place: max((run.name for run in runs(place)), default=""))
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
