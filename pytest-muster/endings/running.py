"""Runs one case, does to it what its way says, and notes what was seen from outside."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from endings import suites
from endings.ways import SIGNALS, SUDDEN, TWICE, Case, Way
from pytest_muster.workspace.reaper import MARK

WITHIN = 90.0  # seconds that a run may take, with what is done to it
SETTLE = 20.0  # seconds for workers to notice that their controller is dead; execnet gives them about ten
BRIEFLY = 5.0  # seconds until everything is gone after an orderly end
TAG = "ENDINGS_CASE"


@dataclass(frozen=True, kw_only=True)
class Told:
    """One line of the log that the suite writes."""

    at: float
    event: str
    name: str
    pid: int


@dataclass(kw_only=True)
class Seen:
    """What was seen of one case."""

    code: int | None = None
    """The exit code of pytest; None if it did not end."""
    told: list[Told] = field(default_factory=list)
    struck: float | None = None
    """When the end was brought about from outside."""
    struck_last: float = 0.0
    """When that was done for the last time."""
    left: list[str] = field(default_factory=list)
    """Command lines of processes that still ran some time after the end."""
    leases: list[str] = field(default_factory=list)
    """Leases that were left after an orderly end."""
    directories: list[str] = field(default_factory=list)
    """Directories that were left before the sweep."""
    after_sweep: list[str] = field(default_factory=list)
    """Processes, directories and leases that were left after the sweep."""
    sweep_code: int = 0
    output: str = ""
    run: Path | None = None
    """The run directory."""


def run_case(case: Case, root: Path) -> Seen:
    """Leaves nothing running, and the files in `root`."""
    directory = root / "suite"
    suites.write(case.suite, directory)
    stage = _Stage(case, directory)
    try:
        return stage.run()
    finally:
        for pid in stage.tagged():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


class _Stage:
    def __init__(self, case: Case, directory: Path) -> None:
        self.case = case
        self.directory = directory
        self.log = directory / "told.log"
        self.log.touch()
        self.tag = f"{case.seed}-{os.getpid()}-{time.time_ns()}"
        self.seen = Seen()
        self.rng = random.Random(case.seed + 1)  # noqa: S311
        self.env = {**os.environ, "ENDINGS_LOG": str(self.log), TAG: self.tag}
        for name in [name for name in self.env if name.startswith(("PYTEST_", "MUSTER_", "COV_"))]:
            del self.env[name]
        # Plugins that may be installed beside us, and take seconds to be imported by each of many runs.
        self.env["PYTEST_ADDOPTS"] = "-p no:schemathesis -p no:hypothesispytest"

    def run(self) -> Seen:
        case, seen = self.case, self.seen
        output = self.directory / "output.txt"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [*self.pytest(), *case.options],
                cwd=self.directory,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that Ctrl-C reaches this run only
            )
        self.began = time.time()
        if case.way in SIGNALS | SUDDEN | {Way.WORKER_KILLED_EVER} and self.wait_for_moment(process):
            seen.struck = time.time()
            self.strike(process)
            seen.struck_last = time.time()
        with contextlib.suppress(subprocess.TimeoutExpired):
            seen.code = process.wait(max(self.began + WITHIN - time.time(), 0.1))
        self.settle()
        seen.told = self.read()
        seen.output = output.read_text(errors="replace")
        runs = sorted((self.directory / ".muster" / "runs").glob("*"))
        seen.run = runs[0] if runs else None
        self.look()
        self.sweep()
        return seen

    def pytest(self) -> list[str]:
        command = [sys.executable, "-m", "pytest", "-p", "no:randomly"]
        if self.case.all_plugins:
            return command
        self.env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        return [*command, "-p", "xdist", "-p", "pytest_muster.plugin"]

    def wait_for_moment(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether the run was still there when its moment came."""
        moment = self.case.moment
        while moment.lines and len(self.read()) < moment.lines:
            if process.poll() is not None or time.time() > self.began + WITHIN:
                return False
            time.sleep(0.005)
        try:
            process.wait(moment.delay)
        except subprocess.TimeoutExpired:
            return True
        return process.poll() is None

    def strike(self, process: subprocess.Popen[bytes]) -> None:
        match self.case.way:
            case Way.WORKER_KILLED_EVER:
                workers = [pid for pid in self.tagged() if "execnet" in _command_of(pid)]
                if workers:
                    os.kill(self.rng.choice(sorted(workers)), signal.SIGKILL)
            case Way.INTERRUPT_GROUP | Way.INTERRUPT_GROUP_TWICE:
                self.signal(lambda: os.killpg(process.pid, signal.SIGINT))
            case Way.INTERRUPT | Way.INTERRUPT_TWICE:
                self.signal(lambda: process.send_signal(signal.SIGINT))
            case Way.TERMINATE:
                process.terminate()
            case Way.CONTROLLER_KILLED:
                process.kill()
            case _:
                self.kill_all()

    def signal(self, send: Callable[[], None]) -> None:
        send()
        if self.case.way in TWICE:
            time.sleep(self.case.again)
            with contextlib.suppress(ProcessLookupError):
                send()

    def kill_all(self) -> None:
        """The runs of pytest, and the reapers before them; not what they have started."""
        for _ in range(3):  # one may start another meanwhile
            mine = [pid for pid in self.tagged() if not _is_leased(pid)]
            reapers = [pid for pid in mine if "reaper.py" in _command_of(pid)]
            others = [pid for pid in mine if pid not in reapers]
            for pid in [*(reapers if self.case.reapers_too else []), *others]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def settle(self) -> None:
        """Wait until nothing of the run is left, as long as that may take."""
        swept_later = self.case.way in SUDDEN
        deadline = time.time() + (SETTLE if swept_later else BRIEFLY)
        while time.time() < deadline:
            left = self.tagged()
            if swept_later and self.case.way is not Way.CONTROLLER_KILLED and self.case.reapers_too:
                left = [pid for pid in left if not _is_leased(pid)]
            if not left:
                return
            time.sleep(0.02)

    def look(self) -> None:
        seen = self.seen
        seen.left = [f"{pid} {_command_of(pid)}" for pid in self.tagged()]
        seen.directories = self.directories()
        seen.leases = self.leases()

    def sweep(self) -> None:
        """Whatever the way was: a sweep must be able to come at any time."""
        seen = self.seen
        if self.case.way is Way.ALL_KILLED_NEXT_RUN:
            self.sweep_by([*self.pytest(), "-q", "--collect-only"])
        elif self.case.way in SUDDEN or seen.leases:
            self.sweep_by([str(Path(sys.executable).parent / "muster"), "sweep"])
        seen.told = self.read()
        deadline = time.time() + BRIEFLY
        while self.tagged() and time.time() < deadline:
            time.sleep(0.02)
        left = [f"process {pid} {_command_of(pid)}" for pid in self.tagged()]
        seen.after_sweep = left + self.directories() + self.leases()

    def sweep_by(self, command: list[str]) -> None:
        done = subprocess.run(
            command, cwd=self.directory, env=self.env, capture_output=True, text=True, timeout=WITHIN, check=False
        )
        self.seen.sweep_code = done.returncode
        self.seen.output += f"\n--- sweep ---\n{done.stdout}{done.stderr}"

    def directories(self) -> list[str]:
        run = self.seen.run
        return [str(path) for path in Path("/tmp").glob(f"muster-*/{run.name[-6:]}-*")] if run else []  # noqa: S108

    def leases(self) -> list[str]:
        """Of things; a worker that was only just starting may have left its name and nothing else."""
        run = self.seen.run
        files = sorted(run.glob("leases/*.json")) if run else []
        return [file.read_text() for file in files if not file.name.startswith("owner-")]

    def read(self) -> list[Told]:
        lines = [line.split() for line in self.log.read_text().splitlines()]
        return [Told(at=float(at), event=event, name=name, pid=int(pid)) for at, event, name, pid in lines]

    def tagged(self) -> list[int]:
        """The processes of this case, by a variable in their environment."""
        wanted = f"{TAG}={self.tag}".encode()
        return [pid for pid in _pids() if wanted in _environment(pid)]


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _environment(pid: int) -> list[bytes]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []


def _is_leased(pid: int) -> bool:
    return any(variable.startswith(f"{MARK}=".encode()) for variable in _environment(pid))


def _command_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def clean_up(root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
