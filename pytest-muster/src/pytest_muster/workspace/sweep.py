"""Cleans up after dead runs: ends their processes, runs their commands, removes their directories.

A run is dead when every process that has told its identity there is gone; a run that lives is never touched, nor one of
another host or container, of which we cannot tell. Each run begins with a sweep, `muster sweep` is the same by hand.
A command that fails keeps its lease, so that the next sweep tries again.
"""

import argparse
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from xdist.workermanage import WorkerController

from pytest_muster.records.run import RUN, Run, cannot_record, existing_directories, run_of
from pytest_muster.records.temporary import is_workspace, remove_tree
from pytest_muster.workspace.leases import RUN_VARIABLE, Kind, Lease, Leases, read_leases, started
from pytest_muster.workspace.reaper import ProcessTree

_COMMAND_TIMEOUT = 30.0  # seconds
_GRACE_PERIOD = 2.0  # seconds between SIGTERM and SIGKILL
_EXIT_TIMEOUT = 2.0  # seconds in which a worker that has closed its channel is given time to end
_MIN_AGE = 60.0  # seconds in which a run may not yet have told who owns it
_MAX_AGE = 7 * 24 * 3600.0  # seconds after which nobody will clean up what could not be cleaned up so far


@dataclass(kw_only=True)
class SweepResult:
    """What a sweep did."""

    lines: list[str] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)
    """How many of each kind were cleaned up."""
    failed: int = 0
    waiting: list[str] = field(default_factory=list)
    """Runs whose controller is gone while a worker still lives."""

    def count(self, kind: str, line: str) -> None:
        self.done[kind] = self.done.get(kind, 0) + 1
        self.lines.append(line)

    def __str__(self) -> str:
        parts = [f"{n} {kind if n == 1 else _PLURALS[kind]}" for kind, n in sorted(self.done.items())]
        failed = f", {self.failed} failed (muster sweep says why)" if self.failed else ""
        return (", ".join(parts) or "nothing") + failed


_PLURALS = {"process": "processes", "directory": "directories", "command": "commands"}


def sweep(muster: Path, *, lock_timeout: float = 0.0) -> SweepResult | None:
    """Clean up after every dead run in `.muster/`. None if somebody else sweeps all that time."""
    done = SweepResult()
    runs = [leases for leases in sorted(muster.glob("runs/*/leases")) if _is_dead(leases, done)]
    if not runs:
        return done
    with _locked(muster / "sweep.lock", lock_timeout) as locked:
        if not locked:
            return None
        for directory in runs:
            if directory.exists() and _is_dead(directory, done):
                _sweep_run(directory, read_leases(directory), done)
    return done


def sweep_worker(run: Run, worker: str) -> SweepResult:
    """Clean up after a worker that has died while the run goes on."""
    done = SweepResult()
    leases = read_leases(run.directory / "leases")
    owners = [lease for lease in leases if lease.kind is Kind.OWNER and lease.fields["worker"] == worker]
    # The end of its pipe comes a moment before its own.
    deadline = time.monotonic() + _EXIT_TIMEOUT
    while any(owner.identity.is_alive for owner in owners) and time.monotonic() < deadline:
        time.sleep(0.005)
    dead = {owner.owner for owner in owners if not owner.identity.is_alive}
    _sweep_run(run.directory / "leases", [lease for lease in leases if lease.owner in dead], done)
    return done


def _is_living(run: Path) -> bool:
    owners = [lease for lease in read_leases(run / "leases") if lease.kind is Kind.OWNER]
    return any(lease.identity.is_local and lease.identity.is_alive for lease in owners)


def _is_dead(directory: Path, done: SweepResult) -> bool:
    run = directory.parent
    owners = [lease for lease in read_leases(directory) if lease.kind is Kind.OWNER]
    strangers = [lease for lease in owners if not lease.identity.is_local]
    if strangers:
        done.lines.append(f"{run.name}: left alone, it belongs to the host or container {strangers[0].identity.host}")
        return False
    living = [lease for lease in owners if lease.identity.is_alive]
    if living and len(living) < len(owners) and all(lease.fields["slot"] for lease in living):
        done.waiting.append(run.name)
    return not living and (bool(owners) or _age(directory) > _MIN_AGE or bool(read_leases(directory)))


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime


def _sweep_run(directory: Path, leases: list[Lease], done: SweepResult) -> None:
    """Processes first, since they use the rest; directories last, since a command may need them."""
    run = directory.parent.name
    mine = [lease for lease in reversed(leases) if lease.kind is not Kind.OWNER]
    for kind, clean in _CLEANERS.items():
        for lease in mine:
            if lease.kind is kind:
                clean(run, lease, done)
    for lease in leases:
        if lease.kind is Kind.OWNER:
            lease.release()
    for draft in directory.glob("*.new"):
        if not any(lease.owner == int(draft.stem.removeprefix("owner-").partition("-")[0]) for lease in leases):
            continue
        draft.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # something is left in it
        directory.rmdir()


def _end_process(run: str, lease: Lease, done: SweepResult) -> None:
    words = " ".join(lease.fields["argv"])
    tree = ProcessTree([lease.fields["mark"]] if "mark" in lease.fields else [])
    if not _targets(lease, tree):
        lease.release()
        return
    for number, timeout in ((signal.SIGTERM, _GRACE_PERIOD), (signal.SIGKILL, _GRACE_PERIOD)):
        for kill, target in _targets(lease, tree):
            with contextlib.suppress(OSError):
                kill(target, number)
        if _gone(lease, tree, timeout):
            done.count("process", f"{run}: ended process {lease.fields.get('pid', '')} ({words})")
            lease.release()
            return
    done.failed += 1
    done.lines.append(f"{run}: could not end process {lease.fields.get('pid', '')} ({words}); end it by hand")


def _targets(lease: Lease, tree: ProcessTree) -> list[tuple[Callable[[int, int], None], int]]:
    """What is still of this lease: its group if the first process is the one we started, and whoever else is its.

    A group or process that merely has got its number is never among them.
    """
    found: list[tuple[Callable[[int, int], None], int]] = []
    group = lease.fields.get("pgid")
    if group and started(group) == lease.fields["start"] is not None:
        found.append((os.killpg, group))
    groups = [target for _, target in found]
    # Where the log is not in the directory of the run, strangers may write to it.
    logs = [log for log in [lease.fields.get("log", "")] if Path(log).is_relative_to(lease.path.parent.parent)]
    return found + [(os.kill, process) for process, is_member in tree.look(groups, logs).items() if not is_member]


def _gone(lease: Lease, tree: ProcessTree, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while _targets(lease, tree):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _run_command(run: str, lease: Lease, done: SweepResult) -> None:
    argv, cwd = lease.fields["argv"], Path(lease.fields["cwd"])
    words = " ".join(argv)
    problem = _problem_of(argv, cwd if cwd.is_dir() else None, {**os.environ, RUN_VARIABLE: run})
    if problem is None:
        done.count("command", f"{run}: ran {words}")
        lease.release()
        return
    done.failed += 1
    done.lines.append(f"{run}: failed: {words}: {problem}; the next sweep tries again, or remove {lease.path}")


def _problem_of(argv: list[str], cwd: Path | None, env: dict[str, str]) -> str | None:
    """Run a command; what went wrong, or None."""
    with tempfile.TemporaryFile() as output:  # a pipe would also wait for what the command leaves running
        try:
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            return str(error)
        try:
            code = process.wait(_COMMAND_TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"not done within {_COMMAND_TIMEOUT:g} s"
        if code == 0:
            return None
        output.seek(max(output.tell() - 4096, 0))
        said = output.read().decode(errors="replace").strip().splitlines()[-3:]
        return ": ".join([f"exit code {code}", *([" / ".join(said)] if said else [])])


def _remove_directory(run: str, lease: Lease, done: SweepResult) -> None:
    path = Path(lease.fields["path"])
    if not is_workspace(path):
        done.failed += 1
        done.lines.append(
            f"{run}: failed: {path} is not a directory of a workspace, so it is kept; remove {lease.path}"
        )
        return
    try:
        existed = path.exists()
        remove_tree(path)
    except OSError as error:
        done.failed += 1
        done.lines.append(f"{run}: failed: {path} cannot be removed: {error}; the next sweep tries again")
        return
    if existed:
        done.count("directory", f"{run}: removed {path}")
    lease.release()


_CLEANERS = {Kind.PROCESS: _end_process, Kind.COMMAND: _run_command, Kind.DIRECTORY: _remove_directory}


@contextlib.contextmanager
def _locked(path: Path, timeout: float) -> Iterator[bool]:
    deadline = time.monotonic() + timeout
    with path.open("w", encoding="ascii") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() >= deadline:
                    yield False
                    return
                time.sleep(0.05)
            else:
                yield True
                return


def prune(muster: Path, keep: int) -> int:
    """Remove all but the newest records; never one of a run that lives, or that still has something to clean up."""
    records = sorted((path for path in muster.glob("runs/*") if path.is_dir()), reverse=True)
    pruned = 0
    for record in records[keep:]:
        # What a host or container that is gone for good has left cannot be cleaned up here, nor be kept for ever.
        if _age(record) > (_MAX_AGE if read_leases(record / "leases") else _MIN_AGE) and not _is_living(record):
            shutil.rmtree(record, ignore_errors=True)
            pruned += 1
    return pruned


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("muster")
    group.addoption(
        "--muster-keep", type=int, default=20, metavar="N", help="keep the records of the newest N runs (20)"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Say who we are before anything is leased, and clean up after the dead."""
    run = run_of(config)
    try:
        Leases.of(run.directory, worker=run.worker, slot=run.slot).own()
    except OSError as error:
        raise cannot_record(config, error) from None
    if run.owns_shared:
        config.pluginmanager.register(_Sweeper(run), "muster-sweeper")


class _Sweeper:
    def __init__(self, run: Run) -> None:
        self.run = run
        self.muster = run.directory.parent.parent

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        done = sweep(self.muster)
        prune(self.muster, max(session.config.getoption("--muster-keep"), 1))
        if done and (done.done or done.failed):
            _report(session.config, f"muster: swept up after a dead run: {done}")

    @pytest.hookimpl(trylast=True, optionalhook=True)
    def pytest_testnodedown(self, node: WorkerController, error: object | None) -> None:
        if error:
            sweep_worker(self.run, node.gateway.id)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Take our name off the run if everything of ours is given back; otherwise it tells that we are dead."""
    if RUN not in config.stash:  # it could not have a directory
        return
    run = run_of(config)
    directory = run.directory / "leases"
    if run.owns_shared:
        _run_kept_commands(config, run)
    leases = read_leases(directory)
    held = {lease.owner for lease in leases if lease.kind is not Kind.OWNER}
    for lease in [lease for lease in leases if lease.kind is Kind.OWNER and lease.owner not in held]:
        if lease.owner == os.getpid() or (run.owns_shared and not lease.identity.is_alive):
            lease.release()
    with contextlib.suppress(OSError):
        directory.rmdir()


def _run_kept_commands(config: pytest.Config, run: Run) -> None:
    """Those of a set-up or teardown that went wrong. One that fails keeps its lease."""
    done = SweepResult()
    for lease in reversed(read_leases(run.directory / "leases")):
        if lease.kind is Kind.COMMAND and lease.owner == os.getpid():
            _run_command(run.id, lease, done)
    for line in done.lines:
        _report(config, f"muster: {line}")


def _report(config: pytest.Config, line: str) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(line)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", nargs="?", type=Path, help="a project, or its .muster; otherwise the nearest")
    parser.add_argument(
        "--wait", type=float, default=15.0, metavar="SECONDS", help="for workers that are still ending (15)"
    )


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


def run(arguments: argparse.Namespace) -> int:
    """`muster sweep`: say line by line what was cleaned up. 1 if something could not be, 3 if another sweep is busy."""
    start = arguments.directory or Path.cwd()
    muster = start if (start / "runs").is_dir() and arguments.directory else None  # what `--muster-directory` had named
    for path in [start.absolute(), *start.absolute().parents]:
        muster = muster or next(iter(existing_directories(path)), None)
    if muster is None:
        _print(f"no runs in {start} or above")
        return 0
    deadline = time.monotonic() + arguments.wait
    failed = 0
    said: set[str] = set()
    while True:
        done = sweep(muster, lock_timeout=60)
        if done is None:
            _print(f"another sweep of {muster} takes very long; try again when it is over")
            return 3
        failed += done.failed
        for line in done.lines:
            if line not in said:
                _print(line)
        said.update(done.lines)
        if not done.waiting or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    for name in done.waiting:
        _print(f"{name}: left alone, one of its workers still lives")
    if not done.done and not failed:
        _print("nothing to sweep")
    return 1 if failed else 0
