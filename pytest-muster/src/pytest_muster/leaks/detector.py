"""The leak detector: what a test leaves behind is recorded and reported, and fails that test where a project says so.

Compared are the moment before the fixtures of the test are set up and the moment after they are torn down: threads,
child processes, sockets, open files, pending tasks of a longer event loop, environment variables, the working
directory, and files in the temporary directory. What fixtures of a wider scope make is theirs, whether they make it in
their own set-up, or later, if it can be reached from their values. What is just closing gets a moment for it.

Leaks are listed in one section at the end of the run. Where they are to fail (see `policy`), they are an error of the
test's teardown. A test that has to leave something says so: `@muster.allow_leaks`.

Not noticed are a descriptor that takes the number of one that was open before and closed in the test, processes that
have left their parent, and files below directories that existed before.
"""

import asyncio
import gc
import os
import time
from collections.abc import Generator
from typing import Any

import pytest

from pytest_muster.leaks import descriptors, policy
from pytest_muster.leaks.leak import Leak, LeakKind
from pytest_muster.leaks.ownership import owned_by
from pytest_muster.leaks.policy import LeakPolicy
from pytest_muster.leaks.report import LeakSection
from pytest_muster.leaks.snapshot import ProcessSnapshot, command_of, take_snapshot, without_harmless
from pytest_muster.leaks.tracker import CreationTracker
from pytest_muster.records.audit_hook import observers_of
from pytest_muster.records.run import Run, run_of

SOON = 0.1
"""Seconds after which it is asked what belongs to fixtures of a wider scope; only the rest is waited for any longer."""

CLOSING_TIMEOUT = 1.0
"""Seconds in which a thread, a process or a socket may end after the test has."""

MAX_TOTAL_WAIT = 3.0
"""Seconds that one process waits for that in all, where leaks are only reported."""


def pytest_addoption(parser: pytest.Parser) -> None:
    policy.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "muster_leaks(*kinds, why): the test may leave leaks of these kinds; of all kinds if none is named",
    )
    run = run_of(config)
    chosen = policy.policy_of(config)
    if not chosen.is_on:
        return
    if run.runs_tests:
        tracker = CreationTracker(observers_of(config), _own_directories(config))
        config.pluginmanager.register(_Detector(run, tracker, chosen), "muster-leaks")
    if run.owns_shared:
        config.pluginmanager.register(LeakSection(), "muster-leaks-section")


def _own_directories(config: pytest.Config) -> tuple[str, ...]:
    basetemp = config.getoption("basetemp", None)
    return ("/pytest-of-", "/muster-", *([str(basetemp)] if basetemp else []))


class LeakFailure(pytest.fail.Exception):  # type: ignore[name-defined,misc]  # the only public way to its class
    """A test has left leaks of a kind that is to fail."""


class _Detector:
    def __init__(self, run: Run, tracker: CreationTracker, chosen: LeakPolicy) -> None:
        self.run = run
        self.tracker = tracker
        self.policy = chosen
        self.wide: dict[int, pytest.FixtureDef[Any]] = {}
        """Fixtures of wider scope that are set up."""
        self.item: pytest.Item | None = None
        self.base = take_snapshot()
        self.last = self.base
        """What was held when the latest test had ended."""
        self.directory = ""
        self.compared = True
        self.failed = False
        self.found: list[Leak] = []
        self.wait_budget = MAX_TOTAL_WAIT

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            for mark in item.iter_markers("muster_leaks"):
                policy.check_mark(item, mark)

    # The outermost wrappers, so that the fixtures of other plugins lie within.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        __tracebackhide__ = True
        self.item, self.found, self.compared, self.failed = item, [], True, False
        self.directory = _directory()
        self.base = take_snapshot(self._loops(), last=self.last)
        self.tracker.begin(self.base.threads)
        result = yield
        self._compare_at_end()
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        __tracebackhide__ = True
        if self.item is None:
            return (yield)
        if fixturedef.scope == "function":
            self._compare_at_end()
            return (yield)
        before = take_snapshot(self._loops())
        was_active, self.tracker.active = self.tracker.active, False
        self.wide[id(fixturedef)] = fixturedef
        directory = _directory()
        try:
            return (yield)
        finally:
            self.tracker.active = was_active
            theirs = take_snapshot(self._loops()) - before
            self.base |= theirs
            self.tracker.background_threads |= {one.ident for one in theirs.threads}
            if directory != (now := _directory()):
                self.directory = now

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        if self.wide.pop(id(fixturedef), None) and self.tracker.active:
            # Torn down in the set-up of a test that needs it with another parameter.
            self.tracker.environment.clear()
            self.directory = _directory()

    def _compare_at_end(self) -> None:
        """Registers the comparison first of all finalizers of the test, so that it runs last of them."""
        if self.compared and self.item is not None:
            self.compared = False
            self.item.addfinalizer(self._compare)

    def _loops(self) -> list[asyncio.AbstractEventLoop]:
        """The event loops among the values of wider fixtures."""
        found: list[asyncio.AbstractEventLoop] = []
        for value in self._values():
            if isinstance(value, asyncio.Runner):
                try:
                    found.append(value.get_loop())
                except RuntimeError:  # it is closed
                    continue
            elif isinstance(value, asyncio.AbstractEventLoop):
                found.append(value)
        return found

    def _values(self) -> list[object]:
        results = (one.cached_result for one in self.wide.values())
        return [result[0] for result in results if result is not None]

    def _compare(self) -> None:
        if self.compared or self.item is None:
            return
        self.compared = True
        self.tracker.active = False
        leaks = self._remaining()
        leaks += self._changed()
        if leaks:
            allowed = policy.allowed_for(self.item)
            self.found = [one for one in leaks if one.kind not in allowed]

    def _remaining(self) -> list[Leak]:
        self.last = take_snapshot(self._loops())
        new = self.last - self.base
        if new and (new := without_harmless(new)):
            if self.policy.fatal:
                gc.collect()  # where leaks are only reported, it would show other people's warnings at another time
            if new := self._after_closing(new, SOON):
                self.base |= owned_by(self._values(), new)
                new = self._after_closing(new - self.base, CLOSING_TIMEOUT - SOON)
        if not new:
            return []
        new = new - owned_by(self._values(), new)
        return [*self._describe(new)] if new else []

    def _after_closing(self, new: ProcessSnapshot, timeout: float) -> ProcessSnapshot:
        """What is still there when what was just ending has had so many seconds for it."""
        began = time.monotonic()
        deadline = began + (timeout if self.policy.fatal else min(timeout, self.wait_budget))
        pause = 0.002
        while new and time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(pause * 2, 0.03)
            new = without_harmless(take_snapshot(self._loops()) - self.base)
        self.wait_budget -= time.monotonic() - began
        return new

    def _describe(self, new: ProcessSnapshot) -> Generator[Leak, None, None]:
        tracker = self.tracker
        for thread in sorted(new.threads, key=lambda one: one.name):
            if thread not in tracker.of_background:
                name = f"{thread.name}, a daemon" if thread.daemon else thread.name
                yield Leak(kind=LeakKind.THREADS, description=name, source=tracker.threads.get(thread))
        for pid in sorted(new.processes):
            text = f"{pid} {command_of(pid)[:200]}"
            yield Leak(kind=LeakKind.PROCESSES, description=text, source=tracker.source_of_process(pid))
        for task in new.tasks:
            code = getattr(task.get_coro(), "cr_code", None)
            words, where = task.get_name(), None
            if code is not None:
                words += f", {code.co_qualname}"
                file = tracker.project.relative(code.co_filename)
                where = file and f"{file}:{code.co_firstlineno}"
            yield Leak(kind=LeakKind.TASKS, description=words, source=where)
        yield from self._descriptors(new)

    def _descriptors(self, new: ProcessSnapshot) -> Generator[Leak, None, None]:
        sockets = self.tracker.sockets()
        described = [descriptors.describe(number) for number in sorted(new.descriptors, key=int)]
        has_loop = any(one.is_event_loop for one in described)
        for one in described:
            source, is_of_background = sockets.get(one.number, (None, False))
            if one.kind is None or is_of_background:
                continue
            if has_loop and one.is_socket_pair:  # how the loop is woken up
                continue
            if one.path is not None:
                source = self.tracker.files.get(one.path)
            yield Leak(kind=one.kind, description=one.description, source=source)

    def _changed(self) -> list[Leak]:
        tracker = self.tracker
        found: list[Leak] = []
        for name, (was, where) in sorted(tracker.environment.items()):
            now = os.environ.get(name)
            if now != was:
                action = "set" if was is None else "unset" if now is None else "changed"
                found.append(Leak(kind=LeakKind.ENVIRONMENT, description=f"{name} is {action}", source=where))
        now = _directory()
        if now != self.directory:
            found.append(
                Leak(kind=LeakKind.DIRECTORY, description=f"{self.directory} → {now}", source=tracker.directory)
            )
        found += [
            Leak(kind=LeakKind.TEMPORARY, description=path, source=where)
            for path, where in tracker.temporary.items()
            if os.path.lexists(path)
        ]
        return found

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        __tracebackhide__ = True
        try:
            result = yield
        finally:
            self.item = None
            self.tracker.active = False
            for leak in self.found:
                self.run.journal.write("leak", test=item.nodeid, worker=self.run.worker, **leak.plain())
        fatal = [leak for leak in self.found if leak.kind in self.policy.fatal]
        if fatal and not self.failed:
            lines = "".join(f"\n  {leak}" for leak in fatal)
            raise LeakFailure(f"the test left leaks{lines}", pytrace=False)
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        self.failed = self.failed or report.failed
        if report.when == "teardown" and self.found:
            leaks = {"leaks": [leak.plain() for leak in self.found]}
            report.muster = {**getattr(report, "muster", {}), **leaks}  # type: ignore[attr-defined]  # travels with it
        return report


def _directory() -> str:
    try:
        return os.getcwd()  # noqa: PTH109  # runs for each test
    except OSError:
        return "(removed)"
