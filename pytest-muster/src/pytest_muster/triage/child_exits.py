"""Notices child processes that ended while tests still ran, without taking their end away from their owner.

After each phase of a test the kernel is asked for an ended child that nobody has waited for yet. One line of the record
for each: an `activity` of kind `child_exit` with pid, name, and the exit status or the signal. A worker of this run is
none of them, since xdist reports its end, as that of the test which it ran.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pytest_muster.leaks.snapshot import children
from pytest_muster.records.run import Run, run_of


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(os, "waitid"):
        config.pluginmanager.register(_Children(run_of(config)), "muster-children")


class _Children:
    def __init__(self, run: Run) -> None:
        self.run = run
        self.seen: set[int] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for ended in self._ended():
            self.seen.add(ended.si_pid)
            if ended.si_pid not in self.run.worker_pids():
                self._write(ended, report)

    def _ended(self) -> Iterator[os.waitid_result]:
        """The ended children that were not seen yet."""
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:  # there is no child
            return
        if ended is None:
            return
        if ended.si_pid not in self.seen:
            yield ended
        # The kernel names any one of those that have ended, perhaps always the same: each child is asked for.
        for pid in set(children()) - self.seen:
            with suppress(ChildProcessError):  # somebody has waited for it just now
                ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if ended is not None:
                    yield ended

    def _write(self, ended: os.waitid_result, report: pytest.TestReport) -> None:
        by_signal = ended.si_code in {os.CLD_KILLED, os.CLD_DUMPED}
        self.run.journal.write(
            "activity",
            worker=self.run.worker,
            test=report.nodeid,
            phase=report.when,
            kind="child_exit",
            count=1,
            pid=ended.si_pid,
            name=_name(ended.si_pid),
            signal=ended.si_status if by_signal else None,
            status=None if by_signal else ended.si_status,
        )


def _name(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return None
