"""What several test files of the plugin need."""

import time
from collections.abc import Callable

import pytest

from pytest_muster.record import Journal
from pytest_muster.run import Role, Run

pytest_plugins = ["pytester"]


@pytest.fixture
def a_run(tmp_path):
    """Make a run that this process owns, as the plugin would."""
    journals = []

    def make(*, id: str = "20260102T030405Z-abc123", worker: str = "main", slot: int = 1, workers: int = 1) -> Run:
        directory = tmp_path / ".muster" / "runs" / id
        journals.append(Journal(directory / "record.jsonl"))
        return Run(
            id=id,
            role=Role.ALONE if worker == "main" else Role.WORKER,
            directory=directory,
            worker=worker,
            slot=slot,
            workers=workers,
            journal=journals[-1],
        )

    yield make
    for journal in journals:
        journal.close()


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """Wait until something is true, at most 20 seconds."""

    def wait(check: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not check():
            assert time.monotonic() < deadline, "it did not become true"
            time.sleep(0.01)

    return wait
