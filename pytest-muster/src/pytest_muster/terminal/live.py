"""The live view: on a terminal, what every worker does now; elsewhere, a line for each thing that is shared.

It takes the place of pytest's dots where workers run tests, standard output is a terminal, and the user asked for
neither more nor less output (`-v`, `-q`), nor for the debugger. In all other cases pytest's own lines stay as they are.
A run without workers has no live view: its tests would share their process with the thread that draws.
"""

import json
import os
import sys
import threading
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest
from xdist.workermanage import WorkerController

from pytest_muster.records.clock import now
from pytest_muster.records.journal import Line
from pytest_muster.records.run import Role, Run, run_of
from pytest_muster.terminal.board import Board, expected_durations
from pytest_muster.terminal.screen import Screen

REDRAW_INTERVAL = 0.125  # seconds: eight times a second looks alive and costs nothing


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("muster").addoption(
        "--muster-live",
        choices=("auto", "off"),
        default="auto",
        help="Show what every worker does, on a terminal (auto, the default), or only pytest's own lines (off).",
    )


@pytest.hookimpl(trylast=True)  # after pytest's terminal reporter is there, or what another plugin put in its place
def pytest_configure(config: pytest.Config) -> None:
    run = run_of(config)
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if not run.owns_shared or reporter is None:
        return
    if run.role is Role.CONTROLLER and is_wanted(config, os.environ):
        config.pluginmanager.register(_LiveView(config, run), "muster-live")
    elif config.get_verbosity() >= -1:
        plain = _PlainLines(config)
        run.journal.subscribe(plain.see)


def is_wanted(config: pytest.Config, env: Mapping[str, str]) -> bool:
    """Whether the live view may take the place of pytest's own progress."""
    # Another plugin's reporter draws for itself.
    own = type(config.pluginmanager.get_plugin("terminalreporter")) is pytest.TerminalReporter
    return (
        own
        and config.getoption("muster_live") == "auto"
        and sys.stdout.isatty()
        and config.get_verbosity() == 0
        and not config.getoption("usepdb", False)
        and not any(env.get(name) for name in ("CI", "BUILD_NUMBER"))
        and env.get("TERM", "dumb") != "dumb"
    )


class _PlainLines:
    """One line for what happens to a shared resource, in the log of a pipeline."""

    def __init__(self, config: pytest.Config) -> None:
        self._writer = config.get_terminal_writer()
        self._lock = threading.Lock()  # resources start side by side

    def see(self, line: Line) -> None:
        text = line["type"] == "resource" and line.get("scope") != "worker" and event_text(line)
        if text:
            with self._lock:
                before = "\n" if self._writer.width_of_current_line else ""
                self._writer.line(f"{before}muster: {text}")
                self._writer.flush()


def event_text(line: Line) -> str | None:
    """What a `resource` line of the record says, in words; nothing if it is no news to somebody who waits."""
    name, took = line["name"], line.get("took")
    after = f" after {took:.1f} s" if took is not None else ""
    match line["event"]:
        case "ready":
            return f"{name} ready{after}"
        case "failed":
            return f"{name} failed{after}"
        case "died":
            return f"{name} died"
        case "stopped" if line.get("ok") is False:
            return f"{name} did not stop cleanly{after}"
        case "stopped":
            return f"{name} stopped{after}"
    return None


class _LiveView:
    """Follows the run and draws it."""

    def __init__(self, config: pytest.Config, run: Run) -> None:
        self.config = config
        self.run = run
        self.board = Board(expected=expected_durations(run.directory))
        self.screen: Screen | None = None
        self.over = threading.Event()
        self.journals: dict[str, _JournalTail] = {}
        self.thread = threading.Thread(target=self._draw, name="muster-live", daemon=True)
        run.journal.subscribe(self._on_line)

    def pytest_sessionstart(self) -> None:
        self.screen = Screen(self.config)
        self.thread.start()

    @pytest.hookimpl(wrapper=True, trylast=True)  # before the terminal reporter writes its summary
    def pytest_sessionfinish(self) -> Generator[None, object, object]:
        try:
            return (yield)
        finally:
            if not self.board.shares:  # otherwise their teardown is still to be seen
                self._close()

    def pytest_muster_shared_stopped(self) -> None:
        self._close()

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self) -> None:
        self._close()

    def pytest_unconfigure(self) -> None:
        self._close()

    def _close(self) -> None:
        self.over.set()
        if self.screen is not None:
            self.screen.close()
            self.screen = None

    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self.board.collected(ids)

    def pytest_testnodeready(self, node: WorkerController) -> None:
        worker = node.gateway.id
        self.journals[worker] = _JournalTail(self.run.directory / "workers" / f"{worker}.jsonl")
        self.board.joins(worker)

    def pytest_testnodedown(self, node: WorkerController) -> None:
        self.journals.pop(node.gateway.id, None)
        self.board.leaves(node.gateway.id)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_report_teststatus(self) -> Generator[None, Any, Any]:
        status = yield
        # Without a letter and a word pytest counts the report and writes nothing.
        return (status[0], "", "") if status and self.screen is not None else status

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        node = getattr(report, "node", None)  # set by xdist
        worker = node.gateway.id if node else self.run.worker
        status = self.config.hook.pytest_report_teststatus(report=report, config=self.config)
        self.board.reported(worker, report, status[0])
        if report.failed and self.screen is not None:
            phase = f" ({report.when})" if report.when in {"setup", "teardown"} else ""
            self._tell(f"FAILED {report.nodeid}{phase}", f"       {worker}: {last_line(report)}")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and self.screen is not None:
            self._tell(f"FAILED {report.nodeid} (collection)", f"       {last_line(report)}")

    def _tell(self, first: str, second: str) -> None:
        writer = self.config.get_terminal_writer()
        writer.line(writer.markup(first, red=True))
        writer.line(second)

    def _on_line(self, line: Line) -> None:
        if line["type"] == "resource" and line.get("scope") != "worker":
            self.board.resource(line)

    def _draw(self) -> None:
        while not self.over.wait(REDRAW_INTERVAL):
            for worker, journal in list(self.journals.items()):
                if line := journal.newest_start():
                    self.board.started(worker, line["test"], line["at"])
            if screen := self.screen:
                screen.show(self.board.rows(now()))


class _JournalTail:
    """The journal of a worker, from where it was read last. xdist does not tell which worker begins a test."""

    STARTED = b'{"type":"started"'

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0

    def newest_start(self) -> Line | None:
        """The last test that the worker began since it was asked before."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                fresh = file.read()
        except OSError:
            return None  # not there yet, or no longer
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self.offset += len(whole)
        found = whole.rfind(self.STARTED)
        if found < 0:
            return None
        line: Line = json.loads(whole[found : whole.index(b"\n", found)])
        return line


def last_line(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The error in a line: what was raised, or what pytest says last."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else report.longreprtext
    lines = [line for line in text.splitlines() if line.strip()]
    return (lines[0] if crash else lines[-1]).strip() if lines else "no text"
