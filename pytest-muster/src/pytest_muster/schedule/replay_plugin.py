"""The plugin's part of a replay: which tests are chosen, and in which order they run."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import pytest

from pytest_muster.schedule.schedule import Schedule


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("muster")
    group.addoption("--muster-replay", metavar="RUN", help="Give every worker the tests that it had in this run.")
    group.addoption("--muster-until", metavar="TEST", help="With --muster-replay: stop where this test began.")
    group.addoption(
        "--muster-only-worker", metavar="WORKER", help="With --muster-replay and -n 0: what this worker ran (gw1, …)."
    )


CHOSEN = "muster_chosen"
"""The key of `workerinput` under which a worker finds the tests that are to be run."""

SCHEDULE = pytest.StashKey[Schedule | None]()
"""What the process that distributes tests, or is alone, is to repeat."""


def read_schedule(config: pytest.Config, own: Path, *, slots: int) -> Schedule | None:
    """What the options ask to repeat, if they do. Raises `pytest.UsageError` where that is impossible."""
    run = config.getoption("muster_replay")
    until, worker = config.getoption("muster_until"), config.getoption("muster_only_worker")
    if not run:
        if until or worker:
            raise pytest.UsageError("--muster-until and --muster-only-worker need --muster-replay=RUN")
        return None
    # Only here: the reader of records takes 10 ms to import, which a run that replays nothing saves.
    from pytest_muster.records.reader import RecordError
    from pytest_muster.schedule.replay import schedule_of

    try:
        found = schedule_of(run, own, until=until, worker=worker)
    except RecordError as problem:
        raise pytest.UsageError(f"--muster-replay: {problem}") from problem
    wanted = max([*found.queues, found.host])
    if worker is not None and slots:
        raise pytest.UsageError("--muster-only-worker repeats one worker in this process: add -n 0")
    if worker is None and wanted > max(slots, 1):
        raise pytest.UsageError(
            f"the run {found.run} had {wanted} workers, this one has {slots}: "
            f"add -n {wanted}, or -n 0 and --muster-only-worker=WORKER"
        )
    return found


def select(config: pytest.Config, items: list[pytest.Item], tests: Collection[str]) -> None:
    """Leave out all other tests."""
    left_out = [item for item in items if item.nodeid not in tests]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.nodeid in tests]


def reorder(items: list[pytest.Item], order: Sequence[str]) -> None:
    """Put the tests into this order."""
    positions = {test: position for position, test in enumerate(order)}
    items.sort(key=lambda item: positions.get(item.nodeid, len(positions)))


def missing_tests(wanted: Iterable[str], there: Iterable[str]) -> list[str]:
    """What a record names and the project does not have any more, in a sentence each."""
    known = set(there)
    return [f"{test} does not exist any more, and is left out" for test in wanted if test not in known]
