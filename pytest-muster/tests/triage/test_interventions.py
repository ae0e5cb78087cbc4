"""Interventions change just what they say, and leave the rest of the world alone."""

import os
import socket
import subprocess
import sys
import textwrap

import pytest

from pytest_muster.records import reader
from pytest_muster.triage import address_family_swap
from pytest_muster.triage.rerun import environment


@pytest.fixture
def swapped(monkeypatch):
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, getattr(socket.socket, name))  # so that it is put back
    address_family_swap.apply()


@pytest.mark.parametrize(
    ("family", "host", "other_family", "other_host"),
    [
        (socket.AF_INET, "127.0.0.1", socket.AF_INET6, "::1"),
        (socket.AF_INET6, "::1", socket.AF_INET, "127.0.0.1"),
    ],
)
def test_a_connection_goes_to_the_other_family_first(swapped, family, host, other_family, other_host):
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        listener.listen()
        listener.settimeout(5)
        with socket.socket(other_family) as client:
            client.settimeout(5)
            client.connect((other_host, listener.getsockname()[1]))
            client.sendall(b"hello")
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.recv(5) == b"hello"


def test_where_the_other_family_does_not_answer_a_connection_goes_where_it_should(swapped):
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname(), timeout=5) as client,
    ):
        assert client.getpeername() == listener.getsockname()


def patient(code, directory):
    script = directory / "patient.py"
    script.write_text(textwrap.dedent(code))
    start = f"""
import runpy
from pathlib import Path
from pytest_muster.triage import timeout_scaling
timeout_scaling.apply(200, Path({str(directory)!r}))
runpy.run_path({str(script)!r})
"""
    command = [sys.executable, "-c", start]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_whatever_waits_with_a_limit_waits_longer(tmp_path):
    done = patient(
        """
        import asyncio, queue, subprocess, sys, threading, time

        box = queue.Queue()
        threading.Timer(0.3, box.put, ["late"]).start()
        assert box.get(timeout=0.1) == "late"

        event = threading.Event()
        threading.Timer(0.3, event.set).start()
        assert event.wait(0.1)

        assert subprocess.run([sys.executable, "-c", "import time; time.sleep(0.3)"], timeout=0.1).returncode == 0

        async def late():
            return await asyncio.wait_for(asyncio.sleep(0.3, "late"), 0.1)

        assert asyncio.run(late()) == "late"

        done = threading.Event()
        threading.Timer(0.3, done.set).start()
        until = time.monotonic() + 0.1
        while not done.is_set():
            assert time.monotonic() < until
            time.sleep(0.01)
        """,
        tmp_path,
    )

    assert done.returncode == 0, done.stderr


def test_what_never_comes_is_waited_for_in_vain(tmp_path):
    code = "import queue\ntry:\n    queue.Queue().get(timeout=0.002)\nexcept queue.Empty:\n    print('empty')\n"

    assert patient(code, tmp_path).stdout == "empty\n"


def test_tests_run_in_the_order_of_the_file_and_settle(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_one.py").write_text(
        "import pytest\n\n@pytest.fixture\ndef own():\n    pass\n\n"
        "def test_a(): pass\ndef test_b(): pass\ndef test_c(own): pass\n"
    )
    (tmp_path / "order").write_text("test_one.py::test_c\ntest_one.py::test_a\n")

    command = [sys.executable, "-m", "pytest", "--muster-only=order", "--muster-settle=0.5", "--muster-directory=kept"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(os.environ), capture_output=True, text=True, timeout=60, check=False
    )

    assert "2 passed, 1 deselected" in done.stdout
    record = reader.load(reader.newest(tmp_path / "kept"))
    assert [run.test for run in record.tests] == ["test_one.py::test_c", "test_one.py::test_a"]
    assert record.tests[0].phases["setup"].took >= 0.5


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="needs waitid")
def test_a_child_that_ends_is_noticed_and_left_to_its_owner(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_one.py").write_text(
        textwrap.dedent("""
        import os, signal, subprocess, sys, pytest

        @pytest.fixture(scope="module")
        def child():
            child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
            yield child
            assert child.wait(5) == 7

        def test_before(child):
            pass

        def test_it_ends(child):
            child.stdin.close()
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

        def test_after(child):
            pass
        """).replace('"input()"', '"import sys; sys.stdin.read(); sys.exit(7)"')
    )

    command = [sys.executable, "-m", "pytest", "-p", "no:randomly"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(os.environ), capture_output=True, text=True, timeout=60, check=False
    )

    assert "3 passed" in done.stdout
    activities = [
        activity
        for activity in reader.load(reader.newest(tmp_path / ".muster")).activities
        if activity.kind == "child_exit"
    ]
    assert [(activity.test, activity.details["status"]) for activity in activities] == [
        ("test_one.py::test_it_ends", 7)
    ]


EARLY = """
import threading

class Cache:
    ready = threading.Event()

    def read(self):
        if not self.ready.is_set():
            raise LookupError
        return 1

    def start(self):
        threading.Timer(0.3, self.ready.set).start()

class Store:
    known = {}

    def get(self, key):
        return self.known[key]

def value_of(cache):
    try:
        return cache.read()
    except LookupError:
        return 0

def lazily(store):
    try:
        return store.get("one")
    except KeyError:
        store.known["one"] = 1
        return 1
"""


def test_a_call_that_came_too_early_answers_when_it_is_asked_again(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "early.py").write_text(EARLY)
    (tmp_path / "test_early.py").write_text(
        textwrap.dedent("""
        import pytest
        from early import Cache, Store, lazily, value_of

        @pytest.fixture
        def value():
            cache = Cache()
            value = value_of(cache)
            cache.start()
            return value

        def test_default(value):
            assert value == 0

        def test_lazy():
            assert lazily(Store()) == 1
        """)
    )

    command = [sys.executable, "-m", "pytest", "-p", "no:randomly", "--muster-retry-probe=3"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(os.environ), capture_output=True, text=True, timeout=60, check=False
    )

    assert "2 passed" in done.stdout
    activities = [
        activity
        for activity in reader.load(reader.newest(tmp_path / ".muster")).activities
        if activity.kind == "retry_succeeded"
    ]
    assert [(activity.function, activity.details["error"]) for activity in activities] == [
        ("Cache.read", "LookupError")
    ]
