"""Watches the shared resources while tests run: a process that dies is told of at once, and whom it fails.

When a test fails, what the resources' set-ups had waited for is asked again, so that the record says whether they
still answered then. A process that a signal has stopped answers nobody, although the kernel takes connections for it.
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
from pytest_muster.resources.lifecycle import error_line
from pytest_muster.resources.shared import ResourceError, SharedResource, SharedResources, shared_resources
from pytest_muster.workspace.leases import is_suspended
from pytest_muster.workspace.processes import Death, Process

POLL_INTERVAL = 0.05
"""Seconds between two looks."""
PROBE_INTERVAL = 5.0
"""Seconds from one probe to the next, however many tests fail."""
EXIT_TIMEOUT = 1.0
"""Seconds for a process whose exit has begun before the teardown, or before a test failed."""
PROBE_TIMEOUT = 2.0
"""Seconds that one check may take."""


class HealthMonitor:
    def __init__(self, run: Run, resources: SharedResources) -> None:
        self.run = run
        self.resources = resources
        self.errors: list[ResourceError] = []
        self.died: dict[str, float] = {}
        """Which shared resource lost a process, and when it was last known to be alive, in seconds since the epoch."""
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._watched: list[tuple[SharedResource, Process]] = []
        self._thread: threading.Thread | None = None
        self._probing: threading.Thread | None = None
        self._probed = float("-inf")

    def start(self) -> None:
        """Watch the processes that ran when the set-up of their resource was over."""
        self._watched = [(resource, process) for resource in self.resources.up for process in resource.serving]
        if self._watched and not self._over.is_set():
            self._thread = threading.Thread(target=self._run, name="muster-health", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in (self._thread, self._probing):
            if thread:
                thread.join(timeout=PROBE_TIMEOUT)
        self.poll()
        self.settle()

    def settle(self) -> None:
        """As `poll`, and for processes that are just being killed: on a busy machine that takes its time."""
        for _, process in list(self._watched):
            process.await_exit_in_progress(EXIT_TIMEOUT)
        self.poll()

    def poll_after_teardown(self) -> None:
        """Tell of what was killed by somebody else when we had only asked it to end: where there is no /proc, a
        process that died in the last moment before the teardown shows it by nothing else."""
        for resource, process in self._watched:
            if process.died and process.is_stopping:
                self._report(resource, process, process.died)

    def _run(self) -> None:
        while not self._over.wait(POLL_INTERVAL):
            self.poll()

    def poll(self) -> None:
        with self._lock:
            for resource, process in list(self._watched):
                if process.poll() is not None:
                    self._watched.remove((resource, process))
                    if process.died:
                        self._report(resource, process, process.died)

    def probe(self) -> None:
        """Ask in a thread whether the resources still answer; not more often than every few seconds."""
        if self._over.is_set() or time.monotonic() < self._probed + PROBE_INTERVAL:
            return
        self._probed = time.monotonic()
        self._probing = threading.Thread(target=self._probe, name="muster-probe", daemon=True)
        self._probing.start()

    def _probe(self) -> None:
        for resource in list(self.resources.up):
            for description, check in list(resource.workspace.checks.items()):
                if self._over.is_set():
                    return
                self._check(resource, description, check)

    def _check(self, resource: SharedResource, description: str, check: Callable[[], object]) -> None:
        began = time.monotonic()
        error = f"no answer within {PROBE_TIMEOUT:g} s"
        ok = False

        def answer_check() -> None:
            nonlocal ok, error
            try:
                answer = check()
                if inspect.isawaitable(answer):
                    answer = asyncio.run_coroutine_threadsafe(_awaited(answer), self.resources.loop()).result(
                        PROBE_TIMEOUT
                    )
                ok, error = bool(answer), "" if answer else f"answered {answer!r}"
            except Exception as raised:  # noqa: BLE001 - as in the wait, whatever it is means that it does not answer
                error = error_line(raised)

        checking = threading.Thread(target=answer_check, name="muster-check", daemon=True)
        checking.start()
        checking.join(PROBE_TIMEOUT)
        if not self._over.is_set():  # otherwise the teardown may have begun
            took = time.monotonic() - began
            suspended = [process.pid for process in resource.serving if is_suspended(process.pid)]
            if suspended:
                ok, error = False, f"process {', '.join(map(str, suspended))} is stopped by a signal"
            why = {} if ok else {"error": f"{description}: {error}", "tail": resource.tail, "suspended": suspended}
            self._write(resource, "probe", ok=ok, description=description, took=took, **why)

    def _write(self, resource: SharedResource, event: str, **fields: object) -> None:
        worker = self.run.worker
        self.run.journal.write("resource", name=resource.name, scope="shared", worker=worker, event=event, **fields)

    def _report(self, resource: SharedResource, process: Process, died: Death) -> None:
        how = f"signal {-died.returncode}" if died.returncode < 0 else f"exit code {died.returncode}"
        error = f"{process.name} (process {process.pid}) ended with {how} while tests ran"
        self.died.setdefault(resource.name, died.after)
        tail = process.tail()
        self._write(resource, "died", pid=process.pid, error=error, tail=tail)
        clock = time.strftime("%H:%M:%S", time.localtime(died.at))
        text = f"{error}, at {clock}" + (f"\nend of {process.log.name}:\n{tail}" if tail else "")
        self.errors.append(ResourceError(title=f"shared resource {resource.name} died", text=text, name=resource.name))


async def _awaited(answer: Awaitable[object]) -> object:
    return await answer


_HEALTH_MONITOR = pytest.StashKey[HealthMonitor]()


def health_monitor(config: pytest.Config) -> HealthMonitor:
    """The health monitor of the process that owns the run."""
    return config.stash.setdefault(_HEALTH_MONITOR, HealthMonitor(run_of(config), shared_resources(config)))


def pytest_configure(config: pytest.Config) -> None:
    run = run_of(config)
    if run.owns_shared:
        config.pluginmanager.register(_FailureAttribution(health_monitor(config)), "muster-failure-attribution")
    if run.runs_tests:
        config.pluginmanager.register(_NeededResources(), "muster-needed-resources")


class _NeededResources:
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


class _FailureAttribution:
    """Where the run is owned: a test that fails after a resource that it needs has died is no test failure."""

    def __init__(self, monitor: HealthMonitor) -> None:
        self.monitor = monitor

    @pytest.hookimpl(tryfirst=True)
    def pytest_muster_shared_ready(self) -> None:
        self.monitor.start()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None]:
        said: dict[str, Any] = getattr(report, "muster", {})
        if report.failed:
            self.monitor.settle()
            self.monitor.probe()
        if report.failed and said.get("needs") and not said.get("infrastructure"):
            among = declarations.declared()
            needed = declarations.needed(said["needs"], among)
            died = self.monitor.died
            gone = [d.name for d in needed if d.name in died and died[d.name] < report.stop]
            if gone:
                why = f"shared resource {gone[0]} had died"
                report.muster = {**said, "infrastructure": why}  # type: ignore[attr-defined]
        yield
