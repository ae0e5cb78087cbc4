"""Workspaces: what a run, a worker or a test has for itself alone. What one hands out is released when it is closed.

A workspace gives a directory, ports, names and processes that no other test, worker or run has, and it waits until
something is ready. Everything that would be left behind by a sudden end is leased (see `leases`).
"""

import contextlib
import inspect
import itertools
import re
import threading
import time
from asyncio import sleep
from asyncio import timeout as limit
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from pytest_muster.records.run import RUN, Run, run_of
from pytest_muster.records.temporary import remove_tree, user_directory
from pytest_muster.workspace import names
from pytest_muster.workspace.leases import Kind, Lease, Leases
from pytest_muster.workspace.ports import Port, lease_port
from pytest_muster.workspace.processes import Process, ProcessSpec

_numbers = itertools.count(1)


class NotReady(Exception):
    """A condition did not come true in time. The message names it, the last error, and the ends of the logs."""

    def __init__(
        self, description: str, *, waited: float, last: BaseException | None, tails: Mapping[Path, str]
    ) -> None:
        self.description = description
        self.waited = waited
        """Seconds."""
        self.last = last
        """What the last check raised."""
        self.tails = dict(tails)
        """The last lines of the logs, by their files."""
        text = description if last is None else f"{description}; last error: {type(last).__name__}: {last}"
        for log, tail in self.tails.items():
            indented = "".join(f"\n    {line}" for line in tail.splitlines()) or "\n    (empty)"
            text += f"\n  {log} ends with{indented}"
        super().__init__(text)


class WorkspaceClosed(RuntimeError):
    """A workspace was asked for something after it was closed."""


class Workspace:
    """What one run, worker or test has to itself. Safe to use from several threads."""

    def __init__(self, run: Run, *, test: str | None = None, logs: str = "") -> None:
        self.run = run.id
        self.slot = run.slot
        self.worker = run.worker
        self.test = test
        self.processes: list[Process] = []
        """Those that `start` has started, in order."""
        self.checks: dict[str, Callable[[], object]] = {}
        """What was waited for and came, by its words: it should be true from then on."""
        self._slots = run.workers
        self._logs = run.directory / "logs" / logs
        self._leases = Leases.of(run.directory, worker=run.worker, slot=run.slot)
        self._ports: list[Port] = []
        self._commands: list[Lease] = []
        self._directory: tuple[Path, Lease] | None = None
        self._lock = threading.RLock()
        self._ended = False
        self._keeps_commands = False
        _OPEN.append(self)

    @property
    def directory(self) -> Path:
        """A directory of this workspace alone, made on first use. Other users may enter it, but not list it.

        Its path is at most 60 bytes long, so that there is room for the name of a Unix socket.
        """
        with self._lock:
            if self._directory is not None:
                return self._directory[0]
            self._must_be_open()
            return self._make_directory()

    def _make_directory(self) -> Path:
        root = user_directory()
        while True:
            path = root / f"{self.run[-6:]}-{self.worker[:12]}-{next(_numbers)}"
            if path.exists():
                continue
            lease = self._leases.prepare(Kind.DIRECTORY, path=str(path), test=self.test)
            self._directory = path, lease  # before there is any, so that whoever interrupts us can take it back
            lease.write()
            try:
                path.mkdir(mode=0o711)
            except FileExistsError:  # of another run, made just now
                self._directory = None
                lease.release()
            else:
                path.chmod(0o711)
                return path

    def _must_be_open(self) -> None:
        if self._ended:
            whose = self.test or f"the {self.worker}"
            raise WorkspaceClosed(f"the workspace of {whose} is closed, and what it handed out with it")

    def port(self) -> int:
        """A port that nobody else on this host is given, free on 127.0.0.1 and ::1, until the workspace ends."""
        with self._lock:
            self._must_be_open()
            port = lease_port(slot=self.slot, slots=self._slots)
            self._ports.append(port)
        return port.number

    def name(self, stem: str = "", *, max_length: int = 63) -> str:
        """A name of a-z, 0-9 and - that no other test, worker or run is given; see `names`."""
        return names.name(stem, run=self.run, worker=self.worker, test=self.test, max_length=max_length)

    def start(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        log: str | Path | None = None,
        user: str | int | None = None,
    ) -> Process:
        """Start a process in a group of its own; it ends with the workspace at the latest, or with this process.

        Its output is appended to a file among the logs of the run, named by `log` or after the command.
        """
        file = self._logs / (log if log is not None else f"{Path(argv[0]).name}.log")
        spec = ProcessSpec(argv=argv, log=file, env=env or {}, cwd=cwd, user=user, test=self.test)
        process = Process(spec, self._leases, self.run)
        with self._lock:
            self._must_be_open()
            self.processes.append(process)  # before it begins, so that whoever interrupts us can end it
        try:
            process.begin()
        except OSError:
            self.processes.remove(process)
            raise
        return process

    def wait_until(
        self,
        check: Callable[[], object],
        *,
        timeout: float = 30.0,
        interval: float = 0.05,
        description: str | None = None,
    ) -> None:
        """Wait until `check` answers something true; an exception means not yet.

        Raises `NotReady` after `timeout` seconds, and at once when a process of this workspace has ended, unless
        somebody has waited for that.
        """
        wait = _Wait(self, description or _words(check), timeout)
        while not wait.accepts(check):
            wait.give_up_if_hopeless()
            time.sleep(interval)
        self.checks[wait.description] = check

    async def wait_until_async(
        self,
        check: Callable[[], object | Awaitable[object]],
        *,
        timeout: float = 30.0,
        interval: float = 0.05,
        description: str | None = None,
    ) -> None:
        """The same for a check that may be async, which is cut short when the time is over."""
        wait = _Wait(self, description or _words(check), timeout)
        while not await wait.accepts_async(check):
            wait.give_up_if_hopeless()
            await sleep(interval)
        self.checks[wait.description] = check

    def on_sweep(self, argv: Sequence[str | Path]) -> None:
        """Let this command clean up where there is no teardown, or none that works.

        The sweeper runs it if the run dies before this workspace is closed; the run itself runs it at its end if the
        set-up or the teardown that this workspace is for fails.
        It runs from the directory that is current now, at most 30 seconds; to be run twice must not harm.
        """
        words = [str(word) for word in argv]
        lease = self._leases.prepare(Kind.COMMAND, argv=words, cwd=str(Path.cwd()), test=self.test)
        with self._lock:
            self._must_be_open()
            self._commands.append(lease)
            lease.write()

    def close(self, *, keep_commands: bool = False) -> None:
        """Stop the processes, the last one first, give everything back, and remove the directory.

        With `keep_commands` the commands of `on_sweep` are run at the end of the run: something was not cleaned up.
        Raises what went wrong when everything has been tried. What was interrupted is done by closing it again.
        """
        with self._lock:
            self._ended = True
            self._keeps_commands = self._keeps_commands or keep_commands
            with contextlib.ExitStack() as stack:  # in reverse order
                if not self._keeps_commands:
                    stack.callback(self._release_commands)
                stack.callback(self._remove_directory)
                stack.callback(self._release_ports)
                for process in self.processes:
                    stack.callback(process.stop)
            with contextlib.suppress(ValueError):
                _OPEN.remove(self)

    def _release_commands(self) -> None:
        while self._commands:
            self._commands[-1].release()
            self._commands.pop()

    def _remove_directory(self) -> None:
        if self._directory is not None:
            path, lease = self._directory
            remove_tree(path)
            lease.release()
            self._directory = None

    def _release_ports(self) -> None:
        while self._ports:
            self._ports.pop().release()


class _Wait:
    """One wait: how long it took, and what came last."""

    def __init__(self, workspace: Workspace, description: str, timeout: float) -> None:
        self.workspace = workspace
        self.description = description
        self.timeout = timeout
        self.began = time.monotonic()
        self.last: BaseException | None = None
        self.needed = [process for process in workspace.processes if not process.awaited]

    @property
    def left(self) -> float:
        return self.began + self.timeout - time.monotonic()

    def accepts(self, check: Callable[[], object]) -> bool:
        self.last = None
        try:
            return bool(check())
        except Exception as error:  # noqa: BLE001  # whatever it is, it means not yet
            self.last = error
            return False

    async def accepts_async(self, check: Callable[[], object | Awaitable[object]]) -> bool:
        self.last = None
        try:
            answer = check()
            if inspect.isawaitable(answer):
                async with limit(max(self.left, 0.001)):
                    answer = await answer
            return bool(answer)
        except Exception as error:  # noqa: BLE001  # whatever it is, it means not yet
            self.last = error
            return False

    def give_up_if_hopeless(self) -> None:
        for process in self.needed:
            code = process.poll()
            if code is not None and not process.awaited:
                how = f"signal {-code}" if code < 0 else f"exit code {code}"
                raise self._not_ready(f"not ready: {self.description}: {process.name} ended with {how}", [process])
        if self.left <= 0:
            description = f"not ready within {self.timeout:g} s: {self.description}"
            raise self._not_ready(description, self.needed)

    def _not_ready(self, description: str, processes: Sequence[Process]) -> NotReady:
        tails = {process.log: process.tail() for process in processes}
        return NotReady(description, waited=time.monotonic() - self.began, last=self.last, tails=tails)


def _words(check: Callable[..., object]) -> str:
    return str(getattr(check, "__qualname__", check))


_OPEN: list[Workspace] = []  # those of this process, the newest last


def run_workspace(run: Run) -> Workspace:
    """A workspace for shared things; there may be several of a run."""
    return Workspace(run)


def worker_workspace(run: Run) -> Workspace:
    """A workspace for the things of this worker."""
    return Workspace(run, logs=run.worker)


def test_workspace(run: Run, nodeid: str) -> Workspace:
    """A workspace for the things of one test."""
    # Workers and tests have folders of their own, so that two who say `server.log` do not share it.
    folder = re.sub(r"[^\w.-]+", "-", nodeid)[-100:].strip("-.")
    return Workspace(run, test=nodeid, logs=f"{run.worker}/{folder}")


test_workspace.__test__ = False  # type: ignore[attr-defined]  # no test, in whatever module it is imported


@pytest.fixture(scope="session")
def muster_worker(request: pytest.FixtureRequest) -> Iterator[Workspace]:
    """The workspace of this worker; what it hands out is released when the worker ends."""
    with contextlib.closing(worker_workspace(run_of(request.config))) as workspace:
        yield workspace


@pytest.fixture
def muster_test(request: pytest.FixtureRequest) -> Iterator[Workspace]:
    """The workspace of this test; what it hands out is released when the test ends."""
    with contextlib.closing(test_workspace(run_of(request.config), request.node.nodeid)) as workspace:
        yield workspace


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close what nobody has closed, the newest first; what cannot be closed keeps its lease, and a sweep says why."""
    if RUN not in config.stash:  # it could not have a directory
        return
    for workspace in reversed([workspace for workspace in _OPEN if workspace.run == run_of(config).id]):
        with contextlib.suppress(OSError):
            workspace.close()
