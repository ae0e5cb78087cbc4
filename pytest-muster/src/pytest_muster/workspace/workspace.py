"""A place: what a run, a worker or a test has to itself. Whatever it gives out is taken back when it ends.

A place gives a directory, ports, names and processes that no other test, worker or run has, and it waits until
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
from pytest_muster.workspace import names
from pytest_muster.workspace.leases import Kind, Lease, Leases
from pytest_muster.workspace.ports import Port, lease_port
from pytest_muster.workspace.processes import Launch, Process
from pytest_muster.workspace.temporary import remove_tree, user_directory

_numbers = itertools.count(1)


class NotReady(Exception):
    """Something was waited for and did not come. The message says what, how long, the last error, and ends of logs."""

    def __init__(self, what: str, *, waited: float, last: BaseException | None, tails: Mapping[Path, str]) -> None:
        self.what = what
        self.waited = waited
        """Seconds."""
        self.last = last
        """What the last check raised."""
        self.tails = dict(tails)
        """The last lines of the logs, by their files."""
        text = what if last is None else f"{what}; last error: {type(last).__name__}: {last}"
        for log, tail in self.tails.items():
            indented = "".join(f"\n    {line}" for line in tail.splitlines()) or "\n    (empty)"
            text += f"\n  {log} ends with{indented}"
        super().__init__(text)


class PlaceEnded(RuntimeError):
    """A place was asked for something after its end."""


class Place:
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
        """A directory of this place alone, made on first use. Other users may enter it, but not list it.

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
                lease.give_back()
            else:
                path.chmod(0o711)
                return path

    def _must_be_open(self) -> None:
        if self._ended:
            whose = self.test or f"the {self.worker}"
            raise PlaceEnded(f"the place of {whose} has ended; what it gives out lives no longer than that")

    def port(self) -> int:
        """A port that nobody else on this host is given, free on 127.0.0.1 and ::1, until the place ends."""
        with self._lock:
            self._must_be_open()
            port = lease_port(slot=self.slot, slots=self._slots)
            self._ports.append(port)
        return port.number

    def name(self, stem: str = "", *, most: int = 63) -> str:
        """A name of a-z, 0-9 and - that no other test, worker or run is given; see `names`."""
        return names.name(stem, run=self.run, worker=self.worker, test=self.test, most=most)

    def start(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        log: str | Path | None = None,
        user: str | int | None = None,
    ) -> Process:
        """Start a process in a group of its own; it ends with the place at the latest, or with this process.

        Its output is appended to a file among the logs of the run, named by `log` or after the command.
        """
        file = self._logs / (log if log is not None else f"{Path(argv[0]).name}.log")
        what = Launch(argv=argv, log=file, env=env or {}, cwd=cwd, user=user, test=self.test)
        process = Process(what, self._leases, self.run)
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
        self, check: Callable[[], object], *, within: float = 30.0, every: float = 0.05, what: str | None = None
    ) -> None:
        """Wait until `check` answers something true; an exception means not yet.

        Raises `NotReady` after `within` seconds, and at once when a process of this place has ended, unless somebody
        has waited for that.
        """
        wait = _Wait(self, what or _words(check), within)
        while not wait.accepts(check):
            wait.give_up_if_hopeless()
            time.sleep(every)
        self.checks[wait.what] = check

    async def wait_until_async(
        self,
        check: Callable[[], object | Awaitable[object]],
        *,
        within: float = 30.0,
        every: float = 0.05,
        what: str | None = None,
    ) -> None:
        """The same for a check that may be async, which is cut short when the time is over."""
        wait = _Wait(self, what or _words(check), within)
        while not await wait.accepts_async(check):
            wait.give_up_if_hopeless()
            await sleep(every)
        self.checks[wait.what] = check

    def on_sweep(self, argv: Sequence[str | Path]) -> None:
        """Let this command clean up where there is no teardown, or none that works.

        The sweeper runs it if the run dies before this place has ended; the run itself runs it at its end if the set-up
        or the teardown that this place is for fails.
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
                    stack.callback(self._give_back_commands)
                stack.callback(self._remove_directory)
                stack.callback(self._give_back_ports)
                for process in self.processes:
                    stack.callback(process.stop)
            with contextlib.suppress(ValueError):
                _OPEN.remove(self)

    def _give_back_commands(self) -> None:
        while self._commands:
            self._commands[-1].give_back()
            self._commands.pop()

    def _remove_directory(self) -> None:
        if self._directory is not None:
            path, lease = self._directory
            remove_tree(path)
            lease.give_back()
            self._directory = None

    def _give_back_ports(self) -> None:
        while self._ports:
            self._ports.pop().give_back()


class _Wait:
    """One wait: how long it took, and what came last."""

    def __init__(self, place: Place, what: str, within: float) -> None:
        self.place = place
        self.what = what
        self.within = within
        self.began = time.monotonic()
        self.last: BaseException | None = None
        self.needed = [process for process in place.processes if not process.awaited]

    @property
    def left(self) -> float:
        return self.began + self.within - time.monotonic()

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
                raise self._not_ready(f"not ready: {self.what}: {process.name} ended with {how}", [process])
        if self.left <= 0:
            what = f"not ready within {self.within:g} s: {self.what}"
            raise self._not_ready(what, self.needed)

    def _not_ready(self, what: str, processes: Sequence[Process]) -> NotReady:
        tails = {process.log: process.tail() for process in processes}
        return NotReady(what, waited=time.monotonic() - self.began, last=self.last, tails=tails)


def _words(check: Callable[..., object]) -> str:
    return str(getattr(check, "__qualname__", check))


_OPEN: list[Place] = []  # those of this process, the newest last


def run_place(run: Run) -> Place:
    """A place for shared things; there may be several of a run."""
    return Place(run)


def worker_place(run: Run) -> Place:
    """A place for the things of this worker."""
    return Place(run, logs=run.worker)


def test_place(run: Run, nodeid: str) -> Place:
    """A place for the things of one test."""
    # Workers and tests have folders of their own, so that two who say `server.log` do not share it.
    folder = re.sub(r"[^\w.-]+", "-", nodeid)[-100:].strip("-.")
    return Place(run, test=nodeid, logs=f"{run.worker}/{folder}")


test_place.__test__ = False  # type: ignore[attr-defined]  # no test, in whatever module it is imported


@pytest.fixture(scope="session")
def muster_worker(request: pytest.FixtureRequest) -> Iterator[Place]:
    """The place of this worker: what it gives out is taken back when the worker ends."""
    with contextlib.closing(worker_place(run_of(request.config))) as place:
        yield place


@pytest.fixture
def muster_test(request: pytest.FixtureRequest) -> Iterator[Place]:
    """The place of this test: what it gives out is taken back when the test ends."""
    with contextlib.closing(test_place(run_of(request.config), request.node.nodeid)) as place:
        yield place


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close what nobody has closed, the newest first; what cannot be closed stays leased, so that a sweep says why."""
    if RUN not in config.stash:  # it could not have a directory
        return
    for place in reversed([place for place in _OPEN if place.run == run_of(config).id]):
        with contextlib.suppress(OSError):
            place.close()
