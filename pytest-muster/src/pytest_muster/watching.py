"""Watches the processes of shared resources while tests run: one that dies is told of at once, and whom it fails."""

import threading
import time
from collections.abc import Generator
from typing import Any

import pytest

from pytest_muster import resources
from pytest_muster.keeping import Keeper, Kept, Trouble, keeper_of
from pytest_muster.processes import Death, Process
from pytest_muster.run import Run, run_of

EVERY = 0.05
"""Seconds between two looks."""


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

    def begin(self) -> None:
        """Watch the processes that live now; those that have ended by now were meant to."""
        self._watched = [(kept, p) for kept in self.keeper.up for p in kept.place.processes if p.poll() is None]
        if self._watched and not self._over.is_set():
            self._thread = threading.Thread(target=self._run, name="muster-watcher", daemon=True)
            self._thread.start()

    def end(self) -> None:
        self._over.set()
        if self._thread:
            self._thread.join(timeout=5)
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

    def _tell(self, kept: Kept, process: Process, died: Death) -> None:
        how = f"signal {-died.returncode}" if died.returncode < 0 else f"exit code {died.returncode}"
        error = f"{process.name} (process {process.pid}) ended with {how} while tests ran"
        self.died.setdefault(kept.name, died.at)
        tail = process.tail()
        self.run.journal.write(
            "resource",
            name=kept.name,
            scope="shared",
            worker=self.run.worker,
            event="died",
            pid=process.pid,
            error=error,
            tail=tail,
        )
        clock = time.strftime("%H:%M:%S", time.localtime(died.at))
        text = f"{error}, at {clock}" + (f"\nend of {process.log.name}:\n{tail}" if tail else "")
        self.troubles.append(Trouble(title=f"shared resource {kept.name} died", text=text, name=kept.name))


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
            known = resources.declared()
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
        if report.failed and said.get("needs") and not said.get("infrastructure"):
            self.watcher.look()
            among = resources.declared()
            needed = resources.needed(said["needs"], among)
            gone = [d.name for d in needed if self.watcher.died.get(d.name, report.stop) < report.stop]
            if gone:
                why = f"shared resource {gone[0]} had died"
                report.muster = {**said, "infrastructure": why}  # type: ignore[attr-defined]
        yield
