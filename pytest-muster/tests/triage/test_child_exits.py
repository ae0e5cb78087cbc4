"""Which ended child processes the record tells of."""

import os
import signal
from types import SimpleNamespace

import pytest

from pytest_muster.records.reader import load, newest
from pytest_muster.triage import child_exits
from pytest_muster.triage.engine import triage
from pytest_muster.triage.findings import Cause

pytestmark = pytest.mark.skipif(not hasattr(os, "waitid"), reason="needs waitid")

CONTROLLER = """
import os

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report):
    if report.when == "???":  # of the crash: go on when the worker can be waited for
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
"""


SERVICE = """
        service = subprocess.Popen(["sh", "-c", "exit 9"])
        os.waitid(os.P_PID, service.pid, os.WEXITED | os.WNOWAIT)
        SERVICES.append(service)


import subprocess

SERVICES = []
"""
"""One that ends at the same moment."""


@pytest.mark.parametrize(
    "end",
    [
        "os._exit(70)",
        *(f"os.kill(os.getpid(), signal.{name})" for name in ("SIGKILL", "SIGSEGV", "SIGABRT")),
    ],
)
def test_worker_that_ends_is_the_defect_of_its_test_and_no_service_that_died(nested, end):
    nested.write("conftest.py", CONTROLLER)
    nested.write(
        "test_it.py",
        f"""
        import os
        import signal

        import pytest


        @pytest.mark.parametrize("number", range(4))
        def test_it(number):
            if number == 2:
                {end}
        """,
    )

    done = nested.run("-n", "2")

    assert done.of("worker", event="crashed"), done.out
    assert done.of("activity", kind="child_exit") == []
    (finding,) = triage(load(newest(nested.directory / ".muster"))).findings
    assert finding.cause is Cause.DEFECT
    assert "ended its worker" in finding.title
    assert finding.title.endswith(("by signal 9", "by signal 11", "by signal 6", "with status 70"))


def test_each_child_is_noticed_though_nobody_waits_for_the_first(nested):
    nested.write(
        "test_it.py",
        """
        import os
        import subprocess
        import sys

        import pytest

        CHILDREN = []


        @pytest.mark.parametrize("status", (3, 4, 5))
        def test_it(status):
            CHILDREN.append(subprocess.Popen([sys.executable, "-c", f"import sys; sys.exit({status})"]))
            os.waitid(os.P_PID, CHILDREN[-1].pid, os.WEXITED | os.WNOWAIT)


        def test_after():
            for child in CHILDREN:
                child.wait(5)
        """,
    )

    done = nested.run()

    ended = done.of("activity", kind="child_exit")
    assert [(line["test"], line["status"]) for line in ended] == [
        (f"test_it.py::test_it[{status}]", status) for status in (3, 4, 5)
    ]


def test_child_of_the_controller_is_noticed_beside_a_worker_that_ended(nested):
    nested.write("conftest.py", CONTROLLER + SERVICE)
    nested.write(
        "test_it.py",
        """
        import os

        def test_it():
            os._exit(70)
        """,
    )

    done = nested.run("-n", "1", "--max-worker-restart=0")

    assert [line["status"] for line in done.of("activity", kind="child_exit")] == [9]


def test_a_signal_of_a_child_is_told(nested):
    nested.write(
        "test_it.py",
        """
        import os
        import signal
        import subprocess

        def test_it():
            child = subprocess.Popen(["sleep", "60"])
            child.kill()
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            globals()["kept"] = child
        """,
    )

    done = nested.run()

    (line,) = done.of("activity", kind="child_exit")
    assert (line["signal"], line["status"], line["name"]) == (signal.SIGKILL, None, "sleep")


def test_children_are_listed_only_if_one_has_ended(monkeypatch):
    """After each of the three phases of a test, so that it would show."""
    listed = []
    monkeypatch.setattr(child_exits, "children", lambda: listed.append(1) or [])
    watch = child_exits._Children(None)
    report = SimpleNamespace(nodeid="test_it.py::test_it", when="call")

    monkeypatch.setattr(os, "waitid", lambda *_: None)  # there are some, and all of them run
    watch.pytest_runtest_logreport(report)
    monkeypatch.setattr(os, "waitid", no_child)
    watch.pytest_runtest_logreport(report)

    assert listed == []


def no_child(*_):
    raise ChildProcessError
