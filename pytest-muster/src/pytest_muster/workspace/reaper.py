"""Ends what its owner has started, as soon as the owner is gone; a program of its own, `python reaper.py OWNER`.

The owner holds the other end of standard input and writes one line for each change: `expect MARK` before it starts a
process, `add MARK PGID` when it has, `remove MARK` when the process is gone. However the owner ends, the kernel closes
the pipe: then every group that is left gets SIGTERM, and SIGKILL a second later. It imports almost nothing, so that it
starts in a few milliseconds, and nothing of this package.
"""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Iterator

GRACE_PERIOD = 1.0  # seconds between SIGTERM and SIGKILL
SETTLE = 0.1  # seconds in which a child that was just being started has got its environment


def main(owner: int) -> None:
    # A session of its own is not enough: a terminal that goes, and whoever ends "all python", must not end this.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    groups = _listen(owner)
    if groups:
        _end(groups)


def _listen(owner: int) -> dict[str, int]:
    """What is left when the owner is gone: its groups by mark, 0 for one whose start was not reported."""
    groups: dict[str, int] = {}
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
                return groups
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                _note(groups, line.decode().split(" "))
        elif os.getppid() != owner:
            return groups


def _note(groups: dict[str, int], words: list[str]) -> None:
    if words[0] == "remove":
        groups.pop(words[1], None)
    else:
        groups[words[1]] = int(words[2]) if words[0] == "add" else 0


def _end(groups: dict[str, int]) -> None:
    marks = set(groups)
    _signal(groups, marks, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_PERIOD
    settled = time.monotonic() + SETTLE
    while time.monotonic() < deadline:
        time.sleep(0.02)
        if time.monotonic() > settled and not any(map(_exists, groups.values())) and not any(marked(marks)):
            return
    _signal(groups, marks, signal.SIGKILL)


def _signal(groups: dict[str, int], marks: set[str], number: signal.Signals) -> None:
    for group in groups.values():
        if group:
            with contextlib.suppress(OSError):
                os.killpg(group, number)
    for process in marked(marks):
        with contextlib.suppress(OSError):
            os.kill(process, number)


def _exists(group: int) -> bool:
    if not group:
        return False
    try:
        os.killpg(group, 0)
    except OSError:
        return False
    return True


def marked(marks: set[str]) -> Iterator[int]:
    """The processes that carry one of these marks in their environment; none where there is no /proc."""
    wanted = {f"MUSTER_LEASE={mark}".encode() for mark in marks}
    with contextlib.suppress(OSError):
        for entry in os.listdir("/proc"):  # noqa: PTH208  # pathlib would double the time to start
            if entry.isdigit():
                with contextlib.suppress(OSError), open(f"/proc/{entry}/environ", "rb") as file:  # noqa: PTH123
                    if not wanted.isdisjoint(file.read().split(b"\0")):
                        yield int(entry)


if __name__ == "__main__":
    main(int(sys.argv[1]))
