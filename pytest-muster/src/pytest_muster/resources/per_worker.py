"""What each worker has for itself: sets it up in its own process, and says at once whom it fails when it does not.

Synchronous set-up and teardown run in the thread of the tests, asynchronous ones in the worker's event loop thread.
A set-up that fails is tried once; every test that needs it is infrastructure then. A teardown that fails blames no
test: it is an error of its own. The process that owns the run reads of both in the journals of the workers.
"""

import inspect
import time
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import pytest

from pytest_muster.records import journal
from pytest_muster.records.run import Run, run_of
from pytest_muster.resources.declarations import Declaration, Scope
from pytest_muster.resources.lifecycle import (
    Lifecycle,
    Loop,
    ResourceTimeout,
    bounded,
    error_line,
    exhaust,
    format_error,
)
from pytest_muster.workspace.workspace import Workspace

_PASSING = (KeyboardInterrupt, SystemExit, GeneratorExit, pytest.skip.Exception, pytest.exit.Exception)
"""Not a failure of the resource: for pytest."""


class WorkerResources:
    """The worker resources of one process."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.loop = Loop()
        self.failed: dict[str, BaseException] = {}

    def provide(self, declaration: Declaration, arguments: Mapping[str, object]) -> Iterator[Any]:
        """Set it up, give its value, tear it down."""
        self._write(declaration, "starting")
        began = time.monotonic()
        steps = self._steps(declaration, arguments)
        try:
            value = next(steps)
        except _PASSING:
            raise
        except BaseException as error:
            self.failed[declaration.name] = error
            self._write(
                declaration,
                "failed",
                took=time.monotonic() - began,
                **_describe(declaration, arguments, error),
            )
            raise
        self._write(declaration, "ready", took=time.monotonic() - began)
        yield value
        self._write(declaration, "stopping")
        began = time.monotonic()
        failure: dict[str, object] = {}
        try:
            next(steps, None)
        except _PASSING:
            raise
        except BaseException as error:  # noqa: BLE001 - the last test of this worker is not to blame
            failure = {"ok": False, **_describe(declaration, arguments, error)}
        self._write(declaration, "stopped", took=time.monotonic() - began, **failure)

    def _steps(self, declaration: Declaration, arguments: Mapping[str, object]) -> Iterator[Any]:
        function = declaration.function
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            yield from self._async_steps(declaration, arguments)
            return
        with bounded(declaration, "up"):
            made = function(**arguments)
            value = next(made) if isinstance(made, Generator) else made
        yield value
        if isinstance(made, Generator):
            with bounded(declaration, "torn down"):
                exhaust(made, declaration)

    def _async_steps(self, declaration: Declaration, arguments: Mapping[str, object]) -> Iterator[Any]:
        lifecycle = Lifecycle(declaration, arguments, self.loop)
        lifecycle.begin()
        for future, done in ((lifecycle.ready, "up"), (lifecycle.over, "torn down")):
            try:
                wait([future], timeout=declaration.timeout)
            except BaseException:
                lifecycle.cancel()
                raise
            if not future.done():
                late = ResourceTimeout.of(declaration, done, lifecycle.where())
                lifecycle.cancel()
                wait([future], timeout=1.0)
                raise late
            yield future.result()
            lifecycle.end()

    def _write(self, declaration: Declaration, event: str, **fields: object) -> None:
        worker = self.run.worker
        self.run.journal.write(
            "resource", name=declaration.name, scope=Scope.WORKER.value, worker=worker, event=event, **fields
        )


def _describe(declaration: Declaration, arguments: Mapping[str, object], error: BaseException) -> dict[str, str]:
    workspaces = [argument for argument in arguments.values() if isinstance(argument, Workspace)]
    tails = [
        f"{p.log.name}: {line}"
        for workspace in workspaces
        for p in workspace.processes
        for line in p.tail().splitlines()
    ]
    return {
        "error": error_line(error),
        "tail": "\n".join(tails),
        "text": f"{declaration.location}\n{format_error(error)}",
    }


_WORKER_RESOURCES = pytest.StashKey[WorkerResources]()


def provide(config: pytest.Config, declaration: Declaration, arguments: Mapping[str, object]) -> Iterator[Any]:
    """The body of the fixture that a worker resource is."""
    yield from config.stash[_WORKER_RESOURCES].provide(declaration, arguments)


def pytest_configure(config: pytest.Config) -> None:
    run = run_of(config)
    if run.runs_tests:
        config.stash[_WORKER_RESOURCES] = WorkerResources(run)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """After marks that skip have had their say, and before fixtures are set up."""
    failed = item.config.stash[_WORKER_RESOURCES].failed
    for name in getattr(item, "fixturenames", ()) if failed else ():
        if name in failed:
            pytest.fail(_reason(name), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    failed = item.config.stash[_WORKER_RESOURCES].failed
    if failed and report.failed and report.when == "setup":
        of_test = [name for name in getattr(item, "fixturenames", ()) if name in failed]
        value = call.excinfo.value if call.excinfo else None
        names = of_test or [name for name, error in failed.items() if error is value]
        if names:
            report.muster = {**getattr(report, "muster", {}), "infrastructure": _reason(names[0])}
    return report


def _reason(name: str) -> str:
    return f"worker resource {name} did not start"


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    if _WORKER_RESOURCES in config.stash:
        config.stash[_WORKER_RESOURCES].loop.close()


def errors(run: Run) -> dict[tuple[str, str], list[str]]:
    """What went wrong with worker resources: (title, text) → the workers that told so."""
    found: dict[tuple[str, str], list[str]] = {}
    files: list[Path] = [run.directory / "record.jsonl", *sorted((run.directory / "workers").glob("*.jsonl"))]
    for file in files:
        for line in journal.lines(file, only="resource") if file.exists() else ():
            if line.get("scope") == Scope.WORKER and "text" in line:
                phase = "set-up" if line["event"] == "failed" else "teardown"
                text = line["text"] + (f"\nends of its logs:\n{line['tail']}" if line.get("tail") else "")
                found.setdefault((f"worker {phase} of {line['name']}", text), []).append(line["worker"])
    return found
