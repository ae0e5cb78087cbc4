"""Repeats the schedule of a recorded run: every worker gets the tests of the worker with its slot, in their order.

`muster replay` composes the pytest command from the record and runs it. The plugin's part is `--muster-replay=RUN`:
a slot gets what the worker of that slot ran, serial tests run alone at the end, and nothing else runs. Where several
workers followed each other in one slot, because one crashed, their tests are put one after the other.
"""

import argparse
import shlex
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pytest_muster.records import reader
from pytest_muster.records.reader import RecordError
from pytest_muster.records.run_record import RunRecord
from pytest_muster.schedule.schedule import Schedule


@dataclass(frozen=True, kw_only=True, order=True)
class StartedTest:
    """A test that a worker began."""

    at: float
    order: int
    test: str
    worker: str


def started_tests(record: RunRecord) -> list[StartedTest]:
    """Every test that was begun, ended or not, in the order of time; each once."""
    found = {
        (run.worker, run.test): StartedTest(at=run.start, order=run.order, test=run.test, worker=run.worker)
        for run in record.tests
    }
    for start in record.started:
        found.setdefault(
            (start.worker, start.test),
            StartedTest(at=start.at, order=start.order, test=start.test, worker=start.worker),
        )
    once: dict[str, StartedTest] = {}
    for one in sorted(found.values()):
        once.setdefault(one.test, one)
    return list(once.values())


def schedule_of_record(record: RunRecord, *, until: str | None = None, worker: str | None = None) -> Schedule:
    """The schedule of a record, up to the begin of the test `until`; of one worker only, if one is named.

    Raises `RecordError` if the record knows no such test or worker.
    """
    ran = started_tests(record)
    if until is not None:
        last = next((one for one in ran if one.test == until), None)
        if last is None:
            raise RecordError(f"the run {record.id} did not run {until!r}; give one of its node ids")
        ran = [one for one in ran if one.at < last.at or one is last]
    workers = list(dict.fromkeys(one.worker for one in ran))
    if worker is not None:
        if worker not in workers:
            raise RecordError(f"the run {record.id} has no worker {worker!r}; it has {', '.join(workers) or 'none'}")
        ran = [one for one in ran if one.worker == worker]
    if not ran:
        raise RecordError(f"the run {record.id} began no test, so that there is nothing to repeat")
    slots = {run.worker: run.slot for run in record.tests} | {
        event.worker: event.slot for event in record.workers if event.slot
    }
    alone = {test for line in record.collected for test in line.serial}
    alone |= {run.test for run in record.tests if run.serial}
    queues: dict[int, list[str]] = defaultdict(list)
    followed: dict[int, list[str]] = defaultdict(list)
    for one in ran:
        slot = slots.get(one.worker) or 1
        if one.worker not in followed[slot]:
            followed[slot].append(one.worker)
        if one.test not in alone:
            queues[slot].append(one.test)
    serial = [one for one in ran if one.test in alone]
    notes = [
        f"slot {slot} ran {', then '.join(names)}: one worker gets the tests of all of them"
        for slot, names in sorted(followed.items())
        if len(names) > 1
    ]
    return Schedule(
        run=record.id,
        queues={slot: tuple(tests) for slot, tests in queues.items()},
        serial=tuple(one.test for one in serial),
        host=slots.get(serial[0].worker, 1) if serial else 0,
        notes=tuple(notes),
    )


def schedule_of(run: str, own: Path, *, until: str | None, worker: str | None) -> Schedule:
    """The schedule of the run that is meant; `own` is the directory of the run that asks."""
    return schedule_of_record(reader.load(_find(run, own)), until=until, worker=worker)


def _find(run: str, own: Path) -> Path:
    """The recorded run that is meant: the run that repeats is the newest already, and is not."""
    if run == reader.LATEST:
        others = (one for one in reversed(reader.runs(own.parent.parent)) if one != own)
        found = next((one for one in others if started_tests(reader.load(one))), None)
        if found is None:
            raise RecordError(f"{own.parent} holds no other run that began a test")
        return found
    if (own.parent / run / "record.jsonl").exists():
        return own.parent / run
    return reader.find(run)


_OPTIONS_WITH_VALUE = {
    "-n",
    "--numprocesses",
    "--maxprocesses",
    "--dist",
    "--tx",
    "--testrunuid",
    "--lfnf",
    "--randomly-seed",
}
_FLAGS = {"-d", "--lf", "--last-failed", "--ff", "--failed-first", "--nf", "--new-first", "--sw", "--stepwise"}
_MUSTER_OPTIONS = {"--muster-replay", "--muster-until", "--muster-only-worker", "--muster-scheduler"}


def replay_command(record: RunRecord, *, until: str | None, extra: Sequence[str]) -> list[str]:
    """The pytest command that repeats this run.

    The recorded arguments stay but for those that say how many workers there are and which tests run first.
    """
    kept: list[str] = []
    arguments = iter(record.header.argv)
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if name in _OPTIONS_WITH_VALUE or name in _MUSTER_OPTIONS:
            if not equals:
                next(arguments, None)
        elif argument not in _FLAGS and not (argument[:2] == "-n" and argument[2:].isalnum()):
            kept.append(argument)
    distributed = record.header.dist != "no"
    composed = [sys.executable, "-m", "pytest", *kept]
    composed += ["-n", str(record.header.workers), "--dist", "load"] if distributed else ["-n", "0"]
    if record.header.seed is not None and find_spec("pytest_randomly"):
        composed.append(f"--randomly-seed={record.header.seed}")
    composed.append(f"--muster-replay={record.directory.resolve()}")
    if until:
        composed.append(f"--muster-until={until}")
    return [*composed, *extra]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", metavar="RUN", help="the beginning of an id, or a path (default: the newest)")
    parser.add_argument("--until", metavar="TEST", help="stop where this test began: it is the last one of its worker")
    parser.set_defaults(extra=())
    parser.epilog = "Arguments after -- go to pytest."


def run(arguments: argparse.Namespace) -> int:
    """Print the command, run it, and answer with its exit code."""
    try:
        record = reader.load(reader.find(arguments.run))
        repeated = schedule_of_record(record, until=arguments.until)
    except RecordError as problem:
        sys.stderr.write(f"muster replay: {problem}\n")
        return 2
    command = replay_command(record, until=arguments.until, extra=arguments.extra)
    directory = record.header.cwd or record.header.rootdir
    for note in repeated.notes:
        sys.stdout.write(f"muster replay: {note}\n")
    if record.header.seed is not None and not find_spec("pytest_randomly"):
        sys.stdout.write(
            f"muster replay: the seed {record.header.seed} is left out: pytest-randomly is not installed\n"
        )
    sys.stdout.write(f"cd {shlex.quote(directory)} && {shlex.join(command)}\n")
    sys.stdout.flush()
    try:
        return subprocess.run(command, cwd=directory, check=False).returncode
    except FileNotFoundError as error:
        sys.stderr.write(f"muster replay: {error}: the project of the run {record.id} is not there\n")
        return 3
