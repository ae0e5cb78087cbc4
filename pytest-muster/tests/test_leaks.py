"""What a test leaves behind is noticed, with what and where; what belongs to others is not."""

import gc
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import pytest_muster as muster
from pytest_muster.leaks import descriptors
from pytest_muster.leaks.detector import LeakFailure
from pytest_muster.leaks.ownership import owned_by
from pytest_muster.leaks.snapshot import command_of, take_snapshot, without_harmless
from pytest_muster.records import journal
from pytest_muster.records.reader import newest
from pytest_muster.records.run_record import LEAK_FAILURE

LEAVES = """
import asyncio, os, socket, subprocess, sys, tempfile, threading
import pytest
import pytest_muster as muster

kept = []

@pytest.fixture
def waiting():
    "What threads wait for; set when the process ends, as a daemon would be cut off."
    event = threading.Event()
    kept.append(event)
    return event

def test_threads(waiting):
    threading.Thread(target=waiting.wait, daemon=True, name="filler").start()

def test_sockets():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    kept.append(listener)

def test_processes(request):
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    request.config.add_cleanup(lambda: (child.stdin.close(), child.wait()))

def test_files(tmp_path):
    kept.append((tmp_path / "log.txt").open("w"))

def test_environment():
    os.environ["LEFT_BEHIND"] = "1"

def test_directory(tmp_path):
    os.chdir(tmp_path)

def test_temporary(request):
    number, path = tempfile.mkstemp()
    os.close(number)
    request.config.add_cleanup(lambda: os.unlink(path))

@pytest.mark.asyncio(loop_scope="session")
async def test_tasks():
    kept.append(asyncio.create_task(asyncio.Event().wait()))

@pytest.fixture
def careless(waiting):
    threading.Thread(target=waiting.wait, daemon=True, name="of a fixture").start()

def test_by_a_fixture(careless):
    pass
"""

KINDS = ["threads", "sockets", "processes", "files", "environment", "directory", "temporary", "tasks"]

CLEAN = """
import asyncio, os, socket, subprocess, sys, tempfile, threading, unittest
from concurrent.futures import ThreadPoolExecutor
import pytest
import pytest_muster as muster

def test_everything_is_put_back(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("LEFT_BEHIND", "1")
    monkeypatch.chdir(tmp_path)
    threading.Thread(target=int).start()
    subprocess.run([sys.executable, "-c", ""], check=True)
    with tempfile.TemporaryDirectory(), tempfile.NamedTemporaryFile(), socket.socket():
        pass
    with ThreadPoolExecutor(2) as pool:
        pool.submit(int).result()

def test_a_cycle_is_collected():
    one = socket.socket()
    one.close()
    cycle = [one]
    cycle.append(cycle)

async def test_a_loop_with_its_threads():
    await asyncio.to_thread(int)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await reader.read()
        writer.close()
        await writer.wait_closed()

@pytest.mark.asyncio(loop_scope="session")
async def test_a_longer_loop_with_its_threads():
    await asyncio.to_thread(int)

@pytest.mark.timeout(60, method="thread")
def test_a_time_limit():
    pass

class Pool:
    def __init__(self):
        self.threads, self.sockets, self.children = [], [], []
        self.event = threading.Event()

@pytest.fixture(scope="session")
def pool():
    "Opens things when a test first needs them, as connection pools do."
    os.environ["OF_THE_SESSION"] = "1"
    pool = Pool()
    yield pool
    pool.event.set()
    for one in pool.threads:
        one.join()
    for one in pool.sockets:
        one.close()
    for one in pool.children:
        one.stdin.close()
        one.wait()
    del os.environ["OF_THE_SESSION"]

def test_what_a_wider_fixture_opens_later_is_its_own(pool, tmp_path):
    pool.threads.append(threading.Thread(target=pool.event.wait))
    pool.threads[-1].start()
    pool.sockets.append(socket.socket())
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    pool.children.append(subprocess.Popen(command, stdin=subprocess.PIPE))

@pytest.fixture(scope="module", params=["first", "second"])
def mode(request, tmp_path_factory):
    before = os.getcwd()
    os.environ["MODE"] = request.param
    os.chdir(tmp_path_factory.mktemp(request.param))
    yield request.param
    os.chdir(before)
    del os.environ["MODE"]

def test_parameters_of_wider_fixtures(mode, tmp_path):
    assert os.environ["MODE"] == mode

@pytest.fixture(scope="session")
def server():
    "Each connection has a thread of its own, which nothing knows."
    listener = socket.create_server(("127.0.0.1", 0))
    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()
    def answer(connection):
        with connection:
            while connection.recv(10):
                connection.send(b"x")
    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()

@pytest.fixture(scope="session")
def connection(server):
    class Lazily:
        open = None
        def ask(self):
            self.open = self.open or socket.create_connection(server)
            self.open.send(b"q")
            return self.open.recv(10)
    client = Lazily()
    yield client
    client.open.close()

def test_threads_of_a_server_are_its_own(connection):
    assert connection.ask() == b"x"

class OldStyle(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        os.environ["OF_THE_CLASS"] = "1"
        cls.socket = socket.socket()

    @classmethod
    def tearDownClass(cls):
        cls.socket.close()
        del os.environ["OF_THE_CLASS"]

    def test_one(self):
        self.assertEqual(os.environ["OF_THE_CLASS"], "1")

kept = []

@muster.allow_leaks("sockets", "environment", why="they are looked at by the next test")
def test_allowed():
    os.environ["ALLOWED"] = "1"
    kept.append(socket.socket())

@pytest.mark.muster_leaks(why="whatever it is")
def test_everything_allowed():
    kept.append(socket.socket())

def test_last():
    while kept:
        kept.pop().close()
    del os.environ["ALLOWED"]

@muster.allow_leaks("environment", why="it takes back what another test was allowed to leave")
def test_very_last():
    os.environ.pop("ALLOWED", None)
"""
CLEAN = CLEAN.replace('    del os.environ["ALLOWED"]\n\n@muster', "\n@muster")


def run(pytester: pytest.Pytester, code: str, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(test_it=code)
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
    options = ("-p", "no:randomly", "-p", "no:cacheprovider", *arguments)
    return pytester.runpytest_subprocess(*options, timeout=120)


def leaks(pytester: pytest.Pytester) -> list[dict[str, str]]:
    (directory,) = (pytester.path / ".muster" / "runs").iterdir()
    return [line for line in journal.read(directory) if line["type"] == "leak"]


def test_each_kind_fails_the_test_that_left_it(pytester):
    done = run(pytester, LEAVES, "--muster-leaks=fail")

    done.assert_outcomes(passed=9, errors=9)
    found = leaks(pytester)
    assert [line["kind"] for line in found] == [*KINDS, "threads"]
    by_test = {line["test"].partition("::")[2]: line for line in found}
    for kind in set(KINDS) - {"tasks"}:
        line = LEAVES.splitlines().index(next(one for one in LEAVES.splitlines() if f"def test_{kind}(" in one))
        source = by_test[f"test_{kind}"]["source"]
        assert source.startswith("test_it.py:") and line < int(source.partition(":")[2]) <= line + 3, source
    assert by_test["test_threads"]["description"] == "filler, a daemon"
    assert by_test["test_sockets"]["description"].endswith(", listening")
    assert "sys.stdin" in by_test["test_processes"]["description"]
    assert by_test["test_environment"]["description"] == "LEFT_BEHIND is set"
    assert by_test["test_by_a_fixture"]["description"] == "of a fixture, a daemon"
    done.stdout.fnmatch_lines(["*the test left leaks*", "*threads: filler, a daemon, created at test_it.py:*"])


@pytest.mark.parametrize("workers", [0, 2])
def test_by_default_they_are_listed_at_the_end_and_fail_nothing(pytester, workers):
    done = run(pytester, LEAVES, f"-n{workers}", "-W", "error")

    assert done.ret == 0
    done.assert_outcomes(passed=9)
    assert sorted(line["kind"] for line in leaks(pytester)) == sorted([*KINDS, "threads"])
    assert {line["worker"] for line in leaks(pytester)} <= ({"gw0", "gw1"} if workers else {"main"})
    done.stdout.fnmatch_lines(["*= leaks =*", "*environment: LEFT_BEHIND is set*", "*by test_it.py::*"])


def test_kinds_that_are_named_fail_and_others_are_listed(pytester):
    done = run(pytester, LEAVES, "-o", "muster_leaks=environment, directory")

    done.assert_outcomes(passed=9, errors=2)
    assert len(leaks(pytester)) == 9
    done.stdout.fnmatch_lines(["*= leaks =*", "*threads: filler, a daemon*"])


SLOW = """
import threading, pytest

@pytest.mark.parametrize("number", range(20))
def test_it(number):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
"""


def test_where_they_are_only_listed_the_time_that_is_waited_for_them_is_bounded(pytester, monkeypatch):
    pytester.makeconftest("from pytest_muster.leaks import detector\ndetector.MAX_TOTAL_WAIT = 0.5\n")

    done = run(pytester, SLOW)

    done.assert_outcomes(passed=20)
    tests = [line for line in journal.read(newest(pytester.path / ".muster")) if line["type"] == "test"]
    assert len(leaks(pytester)) == 20
    assert sum(line["phases"]["teardown"]["took"] for line in tests) < 20 * 1.0


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_is_found_in_a_clean_suite(pytester, workers):
    done = run(pytester, CLEAN, f"-n{workers}", "--muster-leaks=fail")

    assert leaks(pytester) == []
    assert done.ret == 0, done.stdout.str()


def test_off_and_wrong_uses(pytester):
    off = run(pytester, LEAVES, "-o", "muster_leaks=off", "-k", "environment or threads")
    assert (off.ret, leaks(pytester)) == (0, [])

    done = run(pytester, 'import pytest\n\n@pytest.mark.muster_leaks("thread", why="x")\ndef test_it():\n    pass\n')
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert "there is no kind of leak 'thread'" in done.stderr.str() + done.stdout.str()

    done = run(pytester, "def test_it():\n    pass\n", "--muster-leaks=warn")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert "muster_leaks: 'warn' is not allowed; use off, report, fail" in done.stderr.str() + done.stdout.str()


def test_mark_of_the_package():
    mark = muster.allow_leaks("threads", why="they end with the process").mark

    assert (mark.name, mark.args, mark.kwargs) == ("muster_leaks", ("threads",), {"why": "they end with the process"})


def test_moments_are_compared(tmp_path, eventually):
    before = take_snapshot()
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    listener = socket.create_server(("127.0.0.1", 0))
    number = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    try:
        new = without_harmless(take_snapshot() - before)

        assert new.threads == {thread}
        assert new.processes == {child.pid}
        eventually(lambda: "sys.stdin" in command_of(child.pid))  # the kernel has no command line for a moment
        words = {one.kind: one.description for one in map(descriptors.describe, new.descriptors)}
        assert words == {
            "sockets": f"TCP 127.0.0.1:{listener.getsockname()[1]}, listening",
            "files": str(tmp_path / "file"),
        }
    finally:
        os.close(number)
        listener.close()
        end.set()
        thread.join()
        child.communicate()
    assert not without_harmless(take_snapshot() - before)


def test_the_lowest_free_number_is_not_taken_for_the_listing():
    before = take_snapshot()
    with socket.socket() as one:  # it gets the number that the listing had
        assert without_harmless(take_snapshot() - before).descriptors == {str(one.fileno())}


def test_what_can_be_reached_is_owned_but_not_through_modules_and_functions():
    before = take_snapshot()
    pairs = [socket.socketpair() for _ in range(2)]
    unreachable, owned = pairs
    globals()["_reached_only_by_globals"] = unreachable

    class Client:
        def __init__(self) -> None:
            self.parts = {"connections": [owned]}
            self.call = lambda: Path.cwd()

    try:
        new = without_harmless(take_snapshot() - before)
        found = owned_by([Client()], new)

        assert found.descriptors == {str(one.fileno()) for one in owned}
        assert len(new.descriptors) == 4
    finally:
        del globals()["_reached_only_by_globals"]
        for pair in pairs:
            for one in pair:
                one.close()
        gc.collect()


def test_the_record_names_leak_failures_by_the_class_that_is_raised():
    assert LeakFailure.__name__ == LEAK_FAILURE
