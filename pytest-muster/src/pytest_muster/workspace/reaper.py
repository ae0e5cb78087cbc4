"""Ends what its owner has started, as soon as the owner is gone; a program of its own, `python reaper.py OWNER`.

The owner holds the other end of standard input and writes one line for each change: `expect MARK LOG` before it starts
a process, `add MARK LOG PGID` when it has, `remove MARK` when the process is gone; LOG is its path in hexadecimal
digits, or `-`. However the owner ends, the kernel closes the pipe: then every process that is left gets SIGTERM, and
SIGKILL a second later. It imports almost nothing, so that it starts in a few milliseconds, and nothing of this package.
"""

import contextlib
import os
import select
import signal
import stat
import sys
import time
from collections.abc import Iterable

GRACE_PERIOD = 1.0  # seconds between SIGTERM and SIGKILL
SETTLE = 0.1  # seconds in which a child that was just being started has got its environment

MARK = "MUSTER_LEASE"
"""Environment variable of every process that a workspace starts: `<run>/<lease>`. Its children inherit it."""

OWN_MARK = "reaper"
"""What the variable holds in a reaper: it outlives those whose children it ends."""


def main(owner: int) -> None:
    # A session of its own is not enough: a terminal that goes, and whoever ends "all python", must not end this.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    left = _listen(owner)
    if left:
        _end(left)


class _Lease:
    """What the owner has said of one process."""

    def __init__(self, log: str = "-", group: str = "0") -> None:
        self.log = None if log == "-" else os.fsdecode(bytes.fromhex(log))
        self.group = int(group)
        """0 if its start was not reported."""


def _listen(owner: int) -> dict[str, _Lease]:
    """What is left when the owner is gone, by mark."""
    left: dict[str, _Lease] = {}
    rest = b""
    watched: list[int] = [0]
    pause: float | None = 1.0
    with contextlib.suppress(AttributeError, OSError):
        # A process that the owner has forked keeps the pipe open; the owner's end is seen nevertheless.
        watched.append(os.pidfd_open(owner))
        pause = None
    while True:
        ready = select.select(watched, [], [], pause)[0]
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                return left
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                _note(left, line.decode().split(" "))
        elif os.getppid() != owner:
            return left


def _note(left: dict[str, _Lease], words: list[str]) -> None:
    verb, mark, *rest = words
    if verb == "remove":
        left.pop(mark, None)
    else:
        left[mark] = _Lease(*rest)


def _end(left: dict[str, _Lease]) -> None:
    groups = {lease.group for lease in left.values() if lease.group}
    logs = {lease.log for lease in left.values() if lease.log}
    tree = ProcessTree(left)
    _signal(tree.look(groups, logs), groups, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_PERIOD
    settled = time.monotonic() + SETTLE
    while time.monotonic() < deadline:
        time.sleep(0.02)
        if time.monotonic() > settled and not any(map(_exists, groups)) and not tree.look(groups, logs):
            return
    _signal(tree.look(groups, logs), groups, signal.SIGKILL)


def _signal(processes: dict[int, bool], groups: Iterable[int], number: signal.Signals) -> None:
    for group in groups:
        with contextlib.suppress(OSError):
            os.killpg(group, number)
    for process, is_member in processes.items():
        if not is_member:
            with contextlib.suppress(OSError):
                os.kill(process, number)


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except OSError:
        return False
    return True


class ProcessTree:
    """The processes of some leases, and all that they have started, wherever it went; nothing where there is no /proc.

    Found are the members of their groups, whoever carries one of their marks in the environment, whoever carries no
    mark at all and writes to one of their logs, and of all these the descendants without a mark. Who was found once is
    known from then on, also when the parents have ended. Not found is a process whose parents have ended, whose
    environment was cleaned *and* whose output goes elsewhere.
    """

    def __init__(self, marks: Iterable[str]) -> None:
        self._wanted = {f"{MARK}={mark}".encode() for mark in marks}
        self._known: dict[int, str] = {}
        """The moments at which the processes began: their numbers are used again."""

    def look(self, groups: Iterable[int] = (), logs: Iterable[str] = ()) -> dict[int, bool]:
        """Those that live now, and whether each is in one of the groups."""
        files = {file for file in map(_file, logs) if file}
        groups = set(groups)
        parents: dict[int, int] = {}
        members: set[int] = set()
        foreign: set[int] = set()
        found: set[int] = set()
        starts: dict[int, str] = {}
        with contextlib.suppress(OSError):
            for entry in os.listdir("/proc"):  # noqa: PTH208  # pathlib would double the time to start
                process = int(entry) if entry.isdigit() else 0
                fields = _status(process) if process else []
                if not fields or fields[0] in "ZX":
                    continue
                parents[process], starts[process] = int(fields[1]), fields[19]
                if int(fields[2]) in groups:
                    members.add(process)
                marks = _marks(process)
                if not self._wanted.isdisjoint(marks) or self._known.get(process) == fields[19]:
                    found.add(process)
                elif marks or process == os.getpid():
                    foreign.add(process)
                elif files and not files.isdisjoint(_file(f"/proc/{process}/fd/{number}") for number in (1, 2)):
                    found.add(process)
        found |= members
        more = found
        while more:
            more = {child for child, parent in parents.items() if parent in more} - found - foreign
            found |= more
        self._known = {process: starts[process] for process in found}
        return {process: process in members for process in found}


def _status(process: int) -> list[str]:
    """What the kernel says of it from its state on; nothing if it is gone."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:  # noqa: PTH123
            return file.read().rpartition(b")")[2].decode().split()
    except OSError:
        return []


def _marks(process: int) -> list[bytes]:
    """What its environment says of leases."""
    try:
        with open(f"/proc/{process}/environ", "rb") as file:  # noqa: PTH123
            return [entry for entry in file.read().split(b"\0") if entry.startswith(MARK.encode() + b"=")]
    except OSError:
        return []


def _file(path: str) -> tuple[int, int] | None:
    """Which regular file this is."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


if __name__ == "__main__":
    main(int(sys.argv[1]))
