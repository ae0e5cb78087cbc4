"""Leases: what would have to be cleaned up if this process were killed now, one small JSON file each.

They lie in `<run>/leases/`. A file is written before its thing exists where that is possible, and removed when the
thing is gone. The file of an owner says which process the leases belong to:

    owner-<pid>.json       owner: {pid, start, host, boot, namespace}, worker, slot, role
    <pid>-<number>.json    kind: process    pid, pgid, start, argv, log, mark, test
                           kind: directory  path, test
                           kind: command    argv, cwd, test

A lease is written to another name and moved, so that a reader sees all of it or nothing.
"""

import contextlib
import functools
import itertools
import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

RUN_VARIABLE = "MUSTER_RUN"
"""Environment variable of every process that a workspace starts: the id of the run."""

_numbers = itertools.count(1)


class Kind(StrEnum):
    OWNER = "owner"
    PROCESS = "process"
    DIRECTORY = "directory"
    COMMAND = "command"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """One process for ever: a process id alone is given to another process sooner or later."""

    pid: int
    start: str
    host: str
    boot: str
    namespace: str

    @property
    def is_local(self) -> bool:
        """Whether this machine can tell if that process lives: not that of another host or container."""
        if self.host != platform.node():
            return False
        return self.boot != _boot() or self.namespace == _namespace()

    @property
    def is_alive(self) -> bool:
        return self.boot == _boot() and started(self.pid) == self.start


def identity(pid: int) -> Identity:
    """Raises `ProcessLookupError` if there is no such process."""
    start = started(pid)
    if start is None:
        raise ProcessLookupError(f"there is no process {pid}")
    return Identity(pid=pid, start=start, host=platform.node(), boot=_boot(), namespace=_namespace())


def started(pid: int) -> str | None:
    """When a process began, in the words of this system; None if it is gone, or a zombie."""
    fields = _status(pid)
    if fields is None:
        return None if _has_proc() else _started_elsewhere(pid)
    return None if fields[0] in "ZX" else fields[19]


def is_suspended(pid: int) -> bool:
    """Whether a signal such as SIGSTOP has stopped a process, so that it lives and does nothing; where /proc tells."""
    fields = _status(pid)
    return fields is not None and fields[0] == "T"


def _status(pid: int) -> list[str] | None:
    """What the kernel says of a process from its state on; None if it is gone, or there is no /proc."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return status.rpartition(")")[2].split()  # the name before it may hold anything


def _started_elsewhere(pid: int) -> str | None:
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    state, _, start = done.stdout.strip().partition(" ")
    return start.strip() if state and not state.startswith("Z") else None


@functools.cache
def _has_proc() -> bool:
    return Path("/proc/self/stat").exists()


@functools.cache
def _boot() -> str:
    """Which start of the machine this is."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


@functools.cache
def _namespace() -> str:
    """In which numbering of processes we are; a container has one of its own."""
    with contextlib.suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""


@dataclass(frozen=True, kw_only=True)
class Lease:
    """One file of `<run>/leases/`."""

    path: Path
    fields: dict[str, Any]

    @property
    def kind(self) -> Kind:
        return Kind(self.fields["kind"])

    @property
    def owner(self) -> int:
        """The process id of who holds it."""
        return int(self.path.stem.removeprefix("owner-").partition("-")[0])

    @property
    def identity(self) -> Identity:
        return Identity(**self.fields["owner"])

    def write(self, **fields: Any) -> None:
        """Put it into its file, with these fields as well."""
        self.fields.update(fields)
        draft = self.path.with_suffix(".new")
        draft.write_text(json.dumps(self.fields), encoding="utf-8")
        draft.replace(self.path)

    def release(self) -> None:
        """The thing is gone, or no longer ours to clean up."""
        self.path.unlink(missing_ok=True)
        self.path.with_suffix(".new").unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True)
class Leases:
    """What one process holds of a run."""

    directory: Path
    worker: str
    slot: int

    @classmethod
    def of(cls, run_directory: Path, *, worker: str, slot: int) -> "Leases":
        return cls(directory=run_directory / "leases", worker=worker, slot=slot)

    def own(self) -> Lease:
        """Say which process we are; needed once, before the first lease."""
        path = self.directory / f"owner-{os.getpid()}.json"
        if path.exists():
            return Lease(path=path, fields=json.loads(path.read_text(encoding="utf-8")))
        self.directory.mkdir(parents=True, exist_ok=True)
        lease = self._lease(path, kind=Kind.OWNER, owner=asdict(identity(os.getpid())))
        lease.write()
        return lease

    def acquire(self, kind: Kind, **fields: Any) -> Lease:
        """A new lease; its file exists when this returns."""
        lease = self.prepare(kind, **fields)
        lease.write()
        return lease

    def prepare(self, kind: Kind, **fields: Any) -> Lease:
        """A lease that is still to be written, so that somebody can hold it before it exists."""
        self.own()
        return self._lease(self.directory / f"{os.getpid()}-{next(_numbers):06}.json", kind=kind, **fields)

    def _lease(self, file: Path, **fields: Any) -> Lease:
        return Lease(path=file, fields={**fields, "worker": self.worker, "slot": self.slot})


def read_leases(directory: Path) -> list[Lease]:
    """The leases in `<run>/leases/`, the oldest of each process first; what cannot be read is left out."""
    found = []
    for path in sorted(directory.glob("*.json")):
        with contextlib.suppress(OSError, ValueError):
            found.append(Lease(path=path, fields=json.loads(path.read_text(encoding="utf-8"))))
    return found
