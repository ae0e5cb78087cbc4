"""`muster compare`: the same suite with 1, 2, 4, … workers, interleaved, and what more workers bring.

Interleaved, because a machine that gets busier or warmer during the comparison then hits every worker count alike.
The *test phase* lasts from the begin of the first test to the end of the last; set-up and teardown of shared things are
told apart. *Utilisation* is the time in which tests ran, over workers times test phase.
"""

import argparse
import secrets
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pytest_muster.records import reader
from pytest_muster.records.reader import RecordError
from pytest_muster.records.run_record import RunRecord


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The figures of one run; seconds."""

    workers: int
    tests: float
    """The test phase."""
    busy: float
    """In which tests ran, over all workers."""
    set_up: float
    teardown: float
    total: float
    verdicts: Mapping[str, str]
    """The outcome of each test."""

    @property
    def utilisation(self) -> float:
        return self.busy / (self.workers * self.tests) if self.tests else 0.0


def sample(record: RunRecord, *, workers: int) -> Sample:
    """What one record says. Raises `RecordError` if no test ended."""
    if not record.tests:
        raise RecordError(f"in the run {record.id} no test ended, so that there is nothing to compare")
    phases: dict[str, float] = defaultdict(float)
    for phase in record.phases:
        phases[phase.name] += phase.took
    return Sample(
        workers=workers,
        tests=max(run.stop for run in record.tests) - min(run.start for run in record.tests),
        busy=sum(run.took for run in record.tests),
        set_up=phases["shared set-up"],
        teardown=phases["shared teardown"],
        total=record.end.wall if record.end else max(run.stop for run in record.tests) - record.header.at,
        verdicts={run.test: run.outcome.value for run in record.tests},
    )


def table(samples: Iterable[Sample]) -> list[str]:
    """A line for each worker count, with medians; speed-up is that of the test phase against the fewest workers."""
    by_workers: dict[int, list[Sample]] = defaultdict(list)
    for one in samples:
        by_workers[one.workers].append(one)
    lines = ["workers     tests  speed-up  utilisation    set-up  teardown     total  runs"]
    base: float | None = None
    for workers, runs in sorted(by_workers.items()):
        tests = median(run.tests for run in runs)
        base = tests if base is None else base
        lines.append(
            f"{workers:>7}  {tests:>6.2f} s  {base / tests if tests else 0:>7.2f}x"
            f"  {median(run.utilisation for run in runs):>10.0%}"
            f"  {median(run.set_up for run in runs):>6.2f} s  {median(run.teardown for run in runs):>6.2f} s"
            f"  {median(run.total for run in runs):>6.2f} s  {len(runs):>4}"
        )
    return lines


def differences(samples: Iterable[Sample]) -> list[str]:
    """A sentence for each test that did not end alike in all runs."""
    found: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    runs = list(samples)
    for test in dict.fromkeys(test for run in runs for test in run.verdicts):
        for run in runs:
            found[test][run.verdicts.get(test, "not run")].add(run.workers)
    return [
        f"{test}: {'; '.join(f'{verdict} with {_list(workers)}' for verdict, workers in sorted(verdicts.items()))}"
        for test, verdicts in found.items()
        if len(verdicts) > 1
    ]


def _list(workers: Iterable[int]) -> str:
    ordered = sorted(workers)
    return f"{', '.join(map(str, ordered))} worker{'' if ordered == [1] else 's'}"


def _counts(text: str) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: give worker counts with commas between them, as 1,2,4") from error
    if min(counts) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a run has at least 1 worker")
    return list(dict.fromkeys(counts))


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number from 1 on")
    return int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=_counts, default=[1, 2, 4], metavar="N,N,…", help="default: 1,2,4")
    parser.add_argument("--rounds", type=_positive, default=3, metavar="N", help="runs of each (default: 3)")
    parser.set_defaults(extra=())
    parser.epilog = "Arguments after -- go to pytest."


def run(arguments: argparse.Namespace) -> int:
    """Print the table. 1 if a test ended differently, 3 if a run left nothing to compare."""
    samples: list[Sample] = []
    for number in range(arguments.rounds):
        # The order turns around every round, so that no count always comes after the same other one.
        for workers in arguments.workers if number % 2 == 0 else reversed(arguments.workers):
            _progress(f"round {number + 1} of {arguments.rounds}: {workers} worker{'s' if workers > 1 else ''}")
            try:
                samples.append(_measure(workers, arguments.extra))
            except RecordError as problem:
                _progress("")
                sys.stderr.write(f"muster compare: {problem}\n")
                return 3
    _progress("")
    sys.stdout.write("\n".join(table(samples)) + "\n")
    different = differences(samples)
    for line in different:
        sys.stdout.write(f"differs: {line}\n")
    return 1 if different else 0


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def _measure(workers: int, extra: Sequence[str]) -> Sample:
    mark = f"--testrunuid=compare-{secrets.token_hex(8)}"  # by which the record is found: it keeps the arguments
    command = [sys.executable, "-m", "pytest", *extra, "-n", str(workers), "--dist", "load", mark]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    record = _find_record(mark, extra)
    if record is None or not record.tests:
        shown = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise RecordError(f"pytest with {workers} workers ran no test, exit code {done.returncode}:\n{shown}")
    return sample(record, workers=workers)


def _find_record(mark: str, extra: Sequence[str]) -> RunRecord | None:
    directory = next((Path(text.partition("=")[2]) for text in extra if text.startswith("--muster-directory=")), None)
    try:
        runs = reader.runs(directory or reader.home())
    except RecordError:
        return None
    records = (reader.load(one, workers=False) for one in reversed(runs[-20:]))
    return next((record for record in records if mark in record.header.argv), None)
