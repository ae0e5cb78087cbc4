"""Notices child processes that ended while tests still ran, without taking their end away from their owner.

After each phase of a test the kernel is asked for an ended child that nobody has waited for yet. One line of the record
for each: a `activity` of kind `child` with pid, name, and the exit status or the signal.
"""

import os
from pathlib import Path

import pytest

from pytest_muster.records.run import Run, run_of


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(os, "waitid"):
        config.pluginmanager.register(_Children(run_of(config)), "muster-children")


class _Children:
    def __init__(self, run: Run) -> None:
        self.run = run
        self.seen: set[int] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return  # there is no child
        if ended is None or ended.si_pid in self.seen:
            return
        self.seen.add(ended.si_pid)
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
