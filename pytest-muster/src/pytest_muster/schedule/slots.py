"""Slots: the numbers 1 to N under which workers run. A replacement takes the slot of the one that it replaces."""

import os
import time

import pytest
from xdist.workermanage import WorkerController

from pytest_muster.records.run import Role, Run, run_of

_EXIT_TIMEOUT = 2.0  # seconds in which a worker that has closed its channel is given time to end


class Slots:
    """Hands out the lowest free number."""

    def __init__(self) -> None:
        self._holders: dict[int, str] = {}

    def acquire(self, worker: str) -> int:
        slot = next(number for number in range(1, len(self._holders) + 2) if number not in self._holders)
        self._holders[slot] = worker
        return slot

    def of(self, worker: str) -> int:
        """The slot of a worker that holds one, otherwise 0."""
        return next((slot for slot, holder in self._holders.items() if holder == worker), 0)

    def release(self, worker: str) -> None:
        self._holders.pop(self.of(worker), None)


SLOTS = pytest.StashKey[Slots]()


def pytest_configure(config: pytest.Config) -> None:
    if run_of(config).role is Role.CONTROLLER:
        config.stash[SLOTS] = Slots()
        config.pluginmanager.register(_SlotAssignment(run_of(config), config.stash[SLOTS]), "muster-slots")


class _SlotAssignment:
    def __init__(self, run: Run, slots: Slots) -> None:
        self.run = run
        self.slots = slots

    def pytest_configure_node(self, node: WorkerController) -> None:
        worker = node.gateway.id
        slot = self.slots.acquire(worker)
        run = self.run
        node.workerinput["muster"] = {
            "run": run.id,
            "directory": str(run.directory),
            "slot": slot,
            "workers": run.workers,
        }
        run.journal.write("worker", worker=worker, slot=slot, event="started")

    @pytest.hookimpl(trylast=True)
    def pytest_testnodedown(self, node: WorkerController, error: object | None) -> None:
        worker = node.gateway.id
        event = "crashed" if error else "finished"
        slot = self.slots.of(worker)
        if slot:
            how = _exit_of(self.run.pid_of(worker)) if error else {}
            self.run.journal.write("worker", worker=worker, slot=slot, event=event, error=error and str(error), **how)
        self.slots.release(worker)


def _exit_of(pid: int | None) -> dict[str, int]:
    """How a child ended, which is left to be collected; the end of its channel comes a moment before its own."""
    deadline = time.monotonic() + _EXIT_TIMEOUT
    while pid and hasattr(os, "waitid"):
        try:
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:  # somebody has collected it
            break
        if ended is not None:
            by_signal = ended.si_code in {os.CLD_KILLED, os.CLD_DUMPED}
            return {"pid": pid, "signal" if by_signal else "status": ended.si_status}
        if time.monotonic() > deadline:
            break
        time.sleep(0.005)
    return {}
