"""Runs chosen tests again, in the order and on the workers that an experiment asks for, and says how they ended.

A rerun is a pytest process of its own with the arguments of the recorded run, but for those that choose tests, workers,
an end at the first failure, or a report. Its record is kept below the run that it explains, so that neither the newest
run nor the history of the project changes. The number of reruns and their time are bounded; once a bound is reached,
an experiment has no answer, and no answer accuses nobody.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pytest_muster.records import reader
from pytest_muster.records.run_record import LEAK_FAILURE, RunRecord, TestRun
from pytest_muster.triage.run_view import Failure, RunView, failure_of

_OPTIONS = {
    "-n",
    "--numprocesses",
    "--maxprocesses",
    "--max-worker-restart",
    "--maxschedchunk",
    "--dist",
    "--tx",
    "--testrunuid",
    "--maxfail",
    "--junitxml",
    "--junit-xml",
    "--junit-prefix",
    "--junitprefix",
    "--report-log",
    "--cov",
    "--cov-report",
    "--cov-config",
    "--deselect",
    "--durations",
    "--tb",
    "--color",
    "--capture",
    "--basetemp",
    "--randomly-seed",
    "-k",
    "-m",
    "-r",
    "--lfnf",
    "--last-failed-no-failures",
}
"""Options that a rerun leaves out, with the value that follows them."""

_FLAGS = {
    "-x",
    "--exitfirst",
    "-d",
    "--lf",
    "--last-failed",
    "--ff",
    "--failed-first",
    "--nf",
    "--new-first",
    "--sw",
    "--stepwise",
    "--sw-skip",
    "--stepwise-skip",
    "--pdb",
    "--trace",
    "-s",
    "-q",
    "-v",
    "-vv",
    "--quiet",
    "--verbose",
}
_KEPT_OPTIONS = {
    "--muster-leaks",
    "-p",
    "-c",
    "-o",
    "-W",
    "--rootdir",
    "--confcutdir",
    "--import-mode",
    "--timeout",
    "--asyncio-mode",
}
"""Options with a value that a rerun keeps; the value is no path of tests."""


@dataclass(frozen=True, kw_only=True)
class RerunResult:
    """How the tests of a rerun ended."""

    view: RunView
    tests: Mapping[str, TestRun] = field(default_factory=dict)

    def passes(self, test: str) -> bool | None:
        """None if the test did not run to its end."""
        run = self.tests.get(test)
        return None if run is None else not run.failed

    def repeats(self, failure: Failure, original: RunView) -> bool | None:
        """Whether a failure of the original run came again; False if its test passed.

        None if the test did not run to its end, or if it failed in another way: with an error of another class or at
        another place, or with other leaks. Such a rerun says nothing of the failure.
        """
        run = self.tests.get(failure.test)
        if run is None:
            return None
        if not run.failed:
            return False
        if failure.error.kind == LEAK_FAILURE:
            return True if self.view.leaks_of(run) & original.leaks_of(failure.run) else None
        return True if failure_of(run).is_like(failure) else None


class Rerun:
    """The experiments that a triage may make, and their bounds."""

    def __init__(
        self,
        record: RunRecord,
        *,
        max_runs: int = 60,
        timeout: float = 300.0,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._record = record
        self._max_runs = max_runs
        self._deadline = time.monotonic() + timeout
        self._report = report
        self._directory = record.directory.resolve() / "reruns"
        # Where the run was started from: options may name files from there.
        self._from = Path(record.header.cwd) if Path(record.header.cwd).is_absolute() else record.root
        self._known: dict[object, RerunResult | None] = {}
        self.runs = 0

    @property
    def left(self) -> int:
        """How many more runs may be made."""
        return self._max_runs - self.runs if self.seconds_left > 0 else 0

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def ordered(self, tests: Sequence[str], *changed: str) -> RerunResult | None:
        """These tests in this order in one process, with what else is to be changed as options."""
        return self._once(("ordered", tuple(tests), changed), tests, ["-n", "0", *changed])

    def on_first_worker(self, tests: Sequence[str]) -> RerunResult | None:
        """These tests in this order on the only worker of a run, which is the first one."""
        return self._once(("first", tuple(tests)), tests, ["-n", "1"])

    def side_by_side(self, tests: Sequence[str], *, workers: int) -> RerunResult | None:
        """These tests on so many workers, each time anew: what tests do to each other is a matter of chance."""
        return self._run(tests, ["-n", str(workers)]) if self.left > 0 else None

    def _once(self, key: object, tests: Sequence[str], options: Sequence[str]) -> RerunResult | None:
        if key not in self._known:
            self._known[key] = self._run(tests, options) if self.left > 0 else None
        return self._known[key]

    def _run(self, tests: Sequence[str], options: Sequence[str]) -> RerunResult | None:
        self.runs += 1
        self._report(f"rerun {self.runs}: {len(tests)} test{'s' if len(tests) != 1 else ''}, the last {tests[-1]}")
        directory = self._directory / f"{self.runs:03d}"
        while directory.exists():
            directory = directory.with_name(directory.name + "a")
        directory.mkdir(parents=True)
        order = directory / "order"
        order.write_text("".join(f"{test}\n" for test in tests), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", *kept_arguments(self._record.header.argv, self._from)]
        command += [*options, "--maxfail=0", "--color=no", "--tb=short", "-q", f"--muster-only={order}"]
        command.append(f"--muster-directory={directory}")
        if "no:cacheprovider" not in self._record.header.argv:
            command += ["-o", f"cache_dir={directory / 'cache'}"]
        if self._record.header.seed is not None:
            command.append(f"--randomly-seed={self._record.header.seed}")
        if not any(argument.startswith("--rootdir") for argument in command):
            command.append(f"--rootdir={self._record.root}")  # without a configuration file, the paths would move it
        command += dict.fromkeys(str(self._record.root / test.partition("::")[0]) for test in tests)
        with (directory / "output.txt").open("wb") as output:
            self._wait(command, output.fileno(), self._timeout(tests))
        try:
            record = reader.load(reader.newest(directory))
        except reader.RecordError:
            return None
        return RerunResult(view=RunView(record), tests={run.test: run for run in record.tests})

    def _timeout(self, tests: Sequence[str]) -> float:
        """A rerun may take a good deal longer than these tests took before, and no longer than is left."""
        chosen = set(tests)
        took = sum(run.took for run in self._record.tests if run.test in chosen)
        return max(1.0, min(30.0 + 3 * took, self._deadline - time.monotonic()))

    def _wait(self, command: Sequence[str], output: int, timeout: float) -> None:
        process = subprocess.Popen(
            list(command),
            cwd=self._from,
            env=environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(5.0)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def kept_arguments(argv: Sequence[str], root: Path) -> list[str]:
    """The recorded arguments without those that choose tests, workers, an early end, or a report."""
    kept: list[str] = []
    waiting = iter(argv)
    for argument in waiting:
        name, equals, _ = argument.partition("=")
        if name in _OPTIONS:
            if not equals:
                next(waiting, None)
        elif name in _KEPT_OPTIONS and not equals:
            kept += [argument, next(waiting, "")]
        elif not (argument in _FLAGS or _is_ours(name) or _with_value(argument) or _is_path(name, root)):
            kept.append(argument)
    return kept


def _is_ours(name: str) -> bool:
    # With other fixtures failing because of leaks, it would be another suite.
    return name.startswith("--muster-") and name != "--muster-leaks"


def _with_value(argument: str) -> bool:
    """`-n4`, `-kname`, `-mslow`, `-rA`: a short option with its value in one word."""
    return len(argument) > 2 and argument[:2] in {"-n", "-k", "-m", "-r"} and argument[1] != "-"


def _is_path(argument: str, root: Path) -> bool:
    return not argument.startswith("-") and (root / argument.partition("::")[0]).exists()


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """The environment without what pytest and xdist say of the process that triages."""
    return {name: value for name, value in own.items() if not name.startswith(("PYTEST_XDIST_", "PYTEST_CURRENT_"))}
