"""The shared resources of a run, in the process that owns it: starts them, publishes their values, stops them.

They start side by side where they do not depend on each other, and stop in reverse order after the last worker is gone.
One that fails to start cancels the others; no test runs then.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pytest_muster.records.clock import now
from pytest_muster.records.run import Run, run_of
from pytest_muster.resources import values
from pytest_muster.resources.declarations import RUN_WORKSPACE, Declaration
from pytest_muster.resources.lifecycle import Lifecycle, Loop, ResourceTimeout, error_line, format_error
from pytest_muster.workspace.processes import Process
from pytest_muster.workspace.workspace import NotReady, Workspace, run_workspace

CANCEL_TIMEOUT = 1.0
"""Seconds for a set-up or teardown to end after it was cancelled; then it is left behind."""


@dataclass(frozen=True, kw_only=True)
class ResourceError:
    """Something went wrong with a resource: what people read of it."""

    title: str
    text: str
    name: str


class SetupFailed(Exception):
    """A shared resource did not come up."""

    def __init__(self, error: ResourceError) -> None:
        super().__init__(error.title)
        self.error = error


@dataclass(frozen=True, kw_only=True)
class SharedResource:
    """A shared resource with its workspace."""

    lifecycle: Lifecycle
    workspace: Workspace
    serving: list[Process] = field(default_factory=list)
    """The processes that ran when the set-up was over, and are to run until the teardown."""

    @property
    def name(self) -> str:
        return self.lifecycle.declaration.name

    @property
    def tail(self) -> str:
        """The ends of the logs of its processes."""
        tails = {process.log: process.tail() for process in self.workspace.processes}
        return "\n".join(f"{log.name}: {line}" for log, tail in tails.items() for line in tail.splitlines())


class SharedResources:
    """Those of one run, in the process that owns it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.values: dict[str, Any] = {}
        self.skipped: dict[str, str] = {}
        """Those whose set-up skipped, or that depend on one that did, and why."""
        self._secrets: Workspace | None = None
        self.up: list[SharedResource] = []
        """Those whose set-up has finished, in the order in which it did."""
        self.errors: list[ResourceError] = []
        self._starting: list[SharedResource] = []
        self.loop = Loop()
        self.began = False
        self.failed = False
        """Whether a set-up has failed."""
        self._ended = False

    @property
    def starting(self) -> list[str]:
        """Whose set-up runs now."""
        return [resource.name for resource in self._starting]

    def start(self, declarations: Sequence[Declaration]) -> None:
        """Start them all. Raises SetupFailed with the first failure; what is up then stays up until `stop`."""
        if self.began:
            return
        self.began = True
        began = now()
        waiting = list(declarations)
        try:
            while waiting or self._starting:
                for declaration in list(waiting):
                    without = [parameter for parameter in declaration.parameters if parameter in self.skipped]
                    if without:
                        self.skipped[declaration.name] = self.skipped[without[0]]
                    elif all(p in self.values or p == RUN_WORKSPACE for p in declaration.parameters):
                        self._begin(declaration)
                    else:
                        continue
                    waiting.remove(declaration)
                if self._starting:
                    self._await_next()
        except BaseException:
            for resource in self._starting:
                resource.lifecycle.cancel()
            raise
        finally:
            self.run.journal.write("phase", name="shared set-up", start=began, stop=now())
        self._publish()

    def _begin(self, declaration: Declaration) -> None:
        workspace = run_workspace(self.run)
        values = {**json.loads(json.dumps(self.values)), RUN_WORKSPACE: workspace}
        arguments = {parameter: values[parameter] for parameter in declaration.parameters}
        resource = SharedResource(lifecycle=Lifecycle(declaration, arguments, self.loop), workspace=workspace)
        self._starting.append(resource)
        self._write(resource, "starting")
        resource.lifecycle.begin()

    def _await_next(self) -> None:
        """Wait until at least one set-up is over, and put those that are over where they belong."""
        soonest = min(resource.lifecycle.began + resource.lifecycle.declaration.timeout for resource in self._starting)
        futures = {resource.lifecycle.ready: resource for resource in self._starting}
        done, _ = wait(futures, timeout=max(0.0, soonest - time.monotonic()), return_when=FIRST_COMPLETED)
        for resource in [futures[future] for future in done]:
            self._accept(resource)
        if not done:
            late = next(k for k in self._starting if k.lifecycle.began + k.lifecycle.declaration.timeout <= soonest)
            error = ResourceTimeout.of(late.lifecycle.declaration, "up", late.lifecycle.where())
            raise self._failed(late, error)

    def _accept(self, resource: SharedResource) -> None:
        error = resource.lifecycle.ready.exception()
        if isinstance(error, pytest.skip.Exception):
            self._starting.remove(resource)
            self.skipped[resource.name] = str(error)
            self._write(resource, "skipped", error=str(error))
            self._close(resource, keep_commands=False)
            return
        if error:
            raise self._failed(resource, error)
        resource.serving.extend(process for process in resource.workspace.processes if process.poll() is None)
        self.up.append(resource)  # before it leaves the others: a signal may break this off anywhere
        self._starting.remove(resource)
        try:
            self.values[resource.name] = values.plain(resource.name, resource.lifecycle.ready.result())
        except values.NotPlain as not_plain:
            raise self._failed(resource, not_plain) from None
        self.run.journal.mask.learn(self.values[resource.name])
        self._write(resource, "ready", took=time.monotonic() - resource.lifecycle.began)

    def _failed(self, resource: SharedResource, error: BaseException) -> SetupFailed:
        took = time.monotonic() - resource.lifecycle.began
        self._write(resource, "failed", took=took, error=error_line(error), tail=resource.tail)
        described = self._describe(resource, "shared set-up", error)
        self.errors.append(described)
        self.failed = True
        return SetupFailed(described)

    def _describe(self, resource: SharedResource, phase: str, error: BaseException) -> ResourceError:
        declaration = resource.lifecycle.declaration
        text = f"{declaration.location}\n{format_error(error)}"
        if resource.tail and not isinstance(error, NotReady):
            text += f"\nends of its logs:\n{resource.tail}"
        return ResourceError(title=f"{phase} of {declaration.name}", text=text, name=declaration.name)

    def _publish(self) -> None:
        """Let workers read the values; also those that come later. Only this user may."""
        file = values_file(self.run)
        self._secrets = run_workspace(self.run)
        self._secrets.on_sweep(["rm", "-f", file])  # if this run is killed, so that no password stays
        part = file.with_suffix(".part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            json.dump({"values": self.values, "skipped": self.skipped}, out)
        part.replace(file)

    def stop(self) -> Iterator[str]:
        """Tear down what is up, in reverse order, each within its time; yields each name before its teardown.

        Never raises: what goes wrong is among `errors`. What was cut off in its set-up comes first.
        """
        if self._ended:
            return
        self._ended = True
        began = now()
        self._settle()
        had = bool(self.up)
        while self.up:
            resource = self.up.pop()
            yield resource.name
            self._end(resource)
        self.loop.close()
        with contextlib.suppress(FileNotFoundError):
            values_file(self.run).unlink()
        if self._secrets:
            self._secrets.close()
        if had:
            self.run.journal.write("phase", name="shared teardown", start=began, stop=now())

    def _settle(self) -> None:
        for resource in self._starting:
            resource.lifecycle.cancel()
        wait([resource.lifecycle.ready for resource in self._starting], timeout=CANCEL_TIMEOUT)
        for resource in self._starting:
            ready = resource.lifecycle.ready
            if resource in self.up:
                continue
            if ready.done() and not ready.exception():
                self.up.append(resource)
                continue
            resource.lifecycle.end()  # if its set-up ends after all, its teardown follows at once
            if resource.name not in [error.name for error in self.errors]:
                self._write(resource, "cancelled")
            self._close(resource, keep_commands=True)  # there is no teardown for what it has made
        self._starting.clear()

    def _end(self, resource: SharedResource) -> None:
        began = time.monotonic()
        self._write(resource, "stopping")
        resource.lifecycle.end()
        wait([resource.lifecycle.over], timeout=resource.lifecycle.declaration.timeout)
        error: BaseException | None
        if resource.lifecycle.over.done():
            error = resource.lifecycle.over.exception()
        else:
            error = ResourceTimeout.of(resource.lifecycle.declaration, "torn down", resource.lifecycle.where())
            resource.lifecycle.cancel()
            wait([resource.lifecycle.over], timeout=CANCEL_TIMEOUT)
        if error:
            self.errors.append(self._describe(resource, "shared teardown", error))
        closing = self._close(resource, keep_commands=error is not None)
        took = time.monotonic() - began
        wrong = error or closing
        self._write(
            resource,
            "stopped",
            took=took,
            **({"ok": False, "error": error_line(wrong), "tail": resource.tail} if wrong else {}),
        )

    def _close(self, resource: SharedResource, *, keep_commands: bool) -> Exception | None:
        try:
            resource.workspace.close(keep_commands=keep_commands)
        except Exception as error:  # noqa: BLE001 - the others still have to be torn down
            self.errors.append(self._describe(resource, "shared teardown", error))
            return error
        return None

    def _write(self, resource: SharedResource, event: str, **fields: object) -> None:
        self.run.journal.write(
            "resource", name=resource.name, scope="shared", worker=self.run.worker, event=event, **fields
        )


_SHARED_RESOURCES = pytest.StashKey[SharedResources]()
_READ = pytest.StashKey[dict[str, Any]]()


def values_file(run: Run) -> Path:
    return run.directory / "shared.json"


def value_of(config: pytest.Config, declaration: Declaration) -> Any:
    """What a shared resource published. Fails the test that could not be seen to need it."""
    values, skipped = _published(config)
    if declaration.name in skipped:
        pytest.skip(skipped[declaration.name])
    try:
        return values[declaration.name]
    except KeyError:
        pytest.fail(
            f"shared resource {declaration.name!r} at {declaration.location} was not started, because no collected "
            "test and no fixture that one uses names it as a parameter: name it as a parameter, also in "
            "@pytest.mark.usefixtures, or declare it with @muster.shared(always=True)",
            pytrace=False,
        )


def _published(config: pytest.Config) -> tuple[dict[str, Any], dict[str, str]]:
    """The values, and who skipped why, in whatever process this is."""
    run = run_of(config)
    if run.owns_shared:
        resources = shared_resources(config)
        return resources.values, resources.skipped
    if _READ not in config.stash:
        file = values_file(run)
        config.stash[_READ] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return config.stash[_READ].get("values", {}), config.stash[_READ].get("skipped", {})


def shared_resources(config: pytest.Config) -> SharedResources:
    """The resources of the process that owns the run."""
    return config.stash.setdefault(_SHARED_RESOURCES, SharedResources(run_of(config)))
