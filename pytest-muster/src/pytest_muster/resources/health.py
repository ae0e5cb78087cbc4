"""Watches the shared resources while tests run: a process that dies is told of at once, and whom it fails.

When a test fails, what the resources' set-ups had waited for is asked again, so that the record says whether they
still answered then.
"""

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import pytest

from pytest_muster.records.run import Run, run_of
from pytest_muster.resources import declarations
from pytest_muster.resources.shared import Keeper, Kept, Trouble, keeper_of, words
from pytest_muster.workspace.processes import Death, Process

EVERY = 0.05
"""Seconds between two looks."""
NOTICED_WITHIN = 0.25
"""Seconds from a death to its being noticed, at most; a test may fail in between."""
PROBE_EVERY = 5.0
"""Seconds from one probe to the next, however many tests fail."""
PROBE_WITHIN = 2.0
"""Seconds that one check may take."""


class Watcher:
    def __init__(self, run: Run, keeper: Keeper) -> None:
        self.run = run
        self.keeper = keeper
        self.troubles: list[Trouble] = []
        self.died: dict[str, float] = {}
        """When which shared resource lost a process, in seconds since the epoch."""
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._watched: list[tuple[Kept, Process]] = []
        self._thread: threading.Thread | None = None
        self._probing: threading.Thread | None = None
        self._probed = float("-inf")

    def begin(self) -> None:
        """Watch the processes that live now; those that have ended by now were meant to."""
        self._watched = [(kept, p) for kept in self.keeper.up for p in kept.place.processes if p.poll() is None]
        if self._watched and not self._over.is_set():
            self._thread = threading.Thread(target=self._run, name="muster-watcher", daemon=True)
            self._thread.start()

    def end(self) -> None:
        self._over.set()
        for thread in (self._thread, self._probing):
            if thread:
                thread.join(timeout=PROBE_WITHIN)
        self.look()

    def _run(self) -> None:
        while not self._over.wait(EVERY):
            self.look()

    def look(self) -> None:
        with self._lock:
            for kept, process in list(self._watched):
                if process.poll() is not None:
                    self._watched.remove((kept, process))
                    if process.died:
                        self._tell(kept, process, process.died)

    def probe(self) -> None:
        """Ask in a thread whether the resources still answer; not more often than every few seconds."""
        if self._over.is_set() or time.monotonic() < self._probed + PROBE_EVERY:
            return
        self._probed = time.monotonic()
        self._probing = threading.Thread(target=self._probe, name="muster-probe", daemon=True)
        self._probing.start()

    def _probe(self) -> None:
        for kept in list(self.keeper.up):
            for what, check in list(kept.place.checks.items()):
                if self._over.is_set():
                    return
                self._ask(kept, what, check)

    def _ask(self, kept: Kept, what: str, check: Callable[[], object]) -> None:
        began = time.monotonic()
        error = f"no answer within {PROBE_WITHIN:g} s"
        ok = False

        def ask() -> None:
            nonlocal ok, error
            try:
                answer = check()
                if inspect.isawaitable(answer):
                    answer = asyncio.run_coroutine_threadsafe(_awaited(answer), self.keeper.loop()).result(PROBE_WITHIN)
                ok, error = bool(answer), "" if answer else f"answered {answer!r}"
            except Exception as raised:  # noqa: BLE001 - as in the wait, whatever it is means that it does not answer
                error = words(raised)

        asking = threading.Thread(target=ask, name="muster-ask", daemon=True)
        asking.start()
        asking.join(PROBE_WITHIN)
        if not self._over.is_set():  # otherwise the teardown may have begun
            took = time.monotonic() - began
            why = {} if ok else {"error": f"{what}: {error}", "tail": kept.tail}
            self._write(kept, "probe", ok=ok, what=what, took=took, **why)

    def _write(self, kept: Kept, event: str, **fields: object) -> None:
        worker = self.run.worker
        self.run.journal.write("resource", name=kept.name, scope="shared", worker=worker, event=event, **fields)

    def _tell(self, kept: Kept, process: Process, died: Death) -> None:
        how = f"signal {-died.returncode}" if died.returncode < 0 else f"exit code {died.returncode}"
        error = f"{process.name} (process {process.pid}) ended with {how} while tests ran"
        self.died.setdefault(kept.name, died.at)
        tail = process.tail()
        self._write(kept, "died", pid=process.pid, error=error, tail=tail)
        clock = time.strftime("%H:%M:%S", time.localtime(died.at))
        text = f"{error}, at {clock}" + (f"\nend of {process.log.name}:\n{tail}" if tail else "")
        self.troubles.append(Trouble(title=f"shared resource {kept.name} died", text=text, name=kept.name))


async def _awaited(answer: Awaitable[object]) -> object:
    return await answer


_WATCHER = pytest.StashKey[Watcher]()


def watcher_of(config: pytest.Config) -> Watcher:
    """The watcher of the process that owns the run."""
    return config.stash.setdefault(_WATCHER, Watcher(run_of(config), keeper_of(config)))


def pytest_configure(config: pytest.Config) -> None:
    run = run_of(config)
    if run.owns_shared:
        config.pluginmanager.register(_Blaming(watcher_of(config)), "muster-blaming")
    if run.runs_tests:
        config.pluginmanager.register(_Naming(), "muster-naming")


class _Naming:
    """Where tests run: a failed report says which shared resources its test needs."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, Any, Any]:
        report = yield
        if report.failed:
            known = declarations.declared()
            needs = [name for name in getattr(item, "fixturenames", ()) if name in known]
            if needs:
                report.muster = {**getattr(report, "muster", {}), "needs": needs}
        return report


class _Blaming:
    """Where the run is owned: a test that fails after a resource that it needs has died is no test failure."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher

    @pytest.hookimpl(tryfirst=True)
    def pytest_muster_shared_ready(self) -> None:
        self.watcher.begin()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None]:
        said: dict[str, Any] = getattr(report, "muster", {})
        if report.failed:
            self.watcher.look()
            self.watcher.probe()
        if report.failed and said.get("needs") and not said.get("infrastructure"):
            among = declarations.declared()
            needed = declarations.needed(said["needs"], among)
            died = self.watcher.died
            gone = [d.name for d in needed if d.name in died and died[d.name] - NOTICED_WITHIN < report.stop]
            if gone:
                why = f"shared resource {gone[0]} had died"
                report.muster = {**said, "infrastructure": why}  # type: ignore[attr-defined]
        yield
