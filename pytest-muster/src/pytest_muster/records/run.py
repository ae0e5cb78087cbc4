"""One test run as each of its processes sees it: who am I, which run is this, where does it keep its files.

A run has one *controller* and N *workers* (pytest-xdist), or one process that is *alone*.
The controller makes the run directory and hands its path to each worker; a worker has a *slot*, 1 to N, which a
replacement of a crashed worker takes over.

    .muster/runs/<run id>/record.jsonl           what the controller writes (see `record`)
    .muster/runs/<run id>/workers/<worker>.jsonl what a worker writes, in the same form
    .muster/runs/<run id>/logs/                  logs of shared things
    .muster/runs/<run id>/leases/                what would have to be cleaned up if this run were killed now
"""

import contextlib
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from pytest_muster.records import temporary
from pytest_muster.records.journal import Journal

RESOURCE_THREAD = "muster-loop"
"""The name of the thread in which the asynchronous resources of a process live."""


class Role(StrEnum):
    CONTROLLER = "controller"
    WORKER = "worker"
    ALONE = "alone"


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a process knows about the run it belongs to."""

    id: str
    role: Role
    directory: Path
    worker: str
    """`gw0`, …; `controller` for the controller, `main` for a process that is alone."""
    slot: int
    """1 to N for a worker and for a process that is alone, 0 for the controller."""
    workers: int
    """How many slots there are."""
    journal: Journal

    @property
    def owns_shared(self) -> bool:
        """Whether this process starts and stops the shared things."""
        return self.role is not Role.WORKER

    @property
    def runs_tests(self) -> bool:
        return self.role is not Role.CONTROLLER

    def write_worker_pid(self) -> None:
        """Say, in a worker, which process it is."""
        (self.directory / "workers" / f"{self.worker}.pid").write_text(str(os.getpid()))

    def pid_of(self, worker: str) -> int | None:
        """The process of a worker; None if it has not said yet."""
        file = self.directory / "workers" / f"{worker}.pid"
        return int(file.read_text() or "0") or None if file.exists() else None

    def worker_pids(self) -> frozenset[int]:
        """The processes of all workers that this run has had, replaced ones included."""
        texts = (file.read_text() for file in (self.directory / "workers").glob("*.pid"))
        return frozenset(int(text) for text in texts if text)  # one that was just made is empty


RUN = pytest.StashKey[Run]()


def run_of(config: pytest.Config) -> Run:
    return config.stash[RUN]


def open_run(config: pytest.Config) -> Run:
    """Join the run that the controller made, or make a new one."""
    handed: dict[str, Any] | None = getattr(config, "workerinput", None)  # how xdist marks a worker
    if handed is not None:
        mine = handed["muster"]
        directory = Path(mine["directory"])
        worker = handed["workerid"]
        journal = Journal(directory / "workers" / f"{worker}.jsonl")
        role, slot, workers = Role.WORKER, mine["slot"], mine["workers"]
        return Run(
            id=mine["run"], role=role, directory=directory, worker=worker, slot=slot, workers=workers, journal=journal
        )
    distributes = config.getoption("dist", "no") != "no" and bool(config.getoption("tx", None))
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    directory = _make_directory(config, name)
    return Run(
        id=name,
        role=Role.CONTROLLER if distributes else Role.ALONE,
        directory=directory,
        worker="controller" if distributes else "main",
        slot=0 if distributes else 1,
        workers=len(config.getoption("tx")) if distributes else 1,
        journal=Journal(directory / "record.jsonl"),
    )


def _make_directory(config: pytest.Config, name: str) -> Path:
    """That of a new run; where the project cannot be written and nobody chose another one, in the temporary directory.

    Raises OSError.
    """
    muster = directory_of(config)
    try:
        return _make(muster, name)
    except OSError as error:
        if config.getoption("muster_directory", None):
            raise
        try:
            return _make(temporary.records_directory(config.rootpath), name)
        except OSError:
            raise error from None


def _make(muster: Path, name: str) -> Path:
    directory = muster / "runs" / name
    (directory / "workers").mkdir(parents=True, mode=0o700)
    ignore = muster / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    return directory


def cannot_record(config: pytest.Config, error: OSError) -> pytest.UsageError:
    """What to say when a run cannot have a directory."""
    return pytest.UsageError(
        f"pytest-muster cannot keep the record of this run in {directory_of(config)}: {error.strerror or error}; "
        "make room there, or choose another directory with --muster-directory=DIR"
    )


def directory_of(config: pytest.Config) -> Path:
    """Where this run is to keep its record, and what belongs to it."""
    chosen = config.getoption("muster_directory", None)
    return Path(chosen).resolve() if chosen else muster_directory(config.rootpath)


def muster_directory(root: Path) -> Path:
    """Where a project keeps its run records."""
    return root / ".muster"


def existing_directories(root: Path) -> list[Path]:
    """Where run records of a project are: its own directory, and the one for times when that could not be written."""
    places = [muster_directory(root)]
    with contextlib.suppress(OSError):
        places.append(temporary.records_directory(root))
    return [place for place in places if (place / "runs").is_dir()]
