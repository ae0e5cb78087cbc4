"""Slots: the numbers 1 to N under which workers run. A replacement takes the slot of the one that it replaces."""

import pytest
from xdist.workermanage import WorkerController

from pytest_muster.records.run import Role, Run, run_of


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
            self.run.journal.write("worker", worker=worker, slot=slot, event=event, error=error and str(error))
        self.slots.release(worker)
