"""What tests do, and what they leave changed, is in the record."""

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_muster.records.reader import find, load

SUITE = """
import functools

client = None
registry = {}
big = list(range(1000))
TOKEN = "a secret that no record may hold"

class Cache:
    entries = {}

class Shop:
    def __init__(self):
        self.orders = []
        self.open = False

shop = Shop()

@functools.lru_cache
def answer(question):
    return 42
"""

CONFTEST = """
import os
import pytest
import suite

os.environ["SHOP_MODE"] = "test"

@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    shared = tmp_path_factory.getbasetemp() / "shared.json"
    shared.write_text("{}")
    yield shared
    shared.unlink()
"""

TESTS = """
import asyncio, os, shutil, signal, socket, sqlite3, subprocess, sys, threading, time
import pytest
import suite

HERE = os.path.dirname(__file__)

def test_connections(stack):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for _ in range(3):
            socket.create_connection(("localhost", port), timeout=5).close()
        async def reach():
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await writer.wait_closed()
        asyncio.run(reach())
    with socket.socket(socket.AF_UNIX) as local, pytest.raises(OSError):
        local.connect(HERE + "/no.sock")

def test_files(tmp_path):
    (tmp_path / "mine.txt").write_text("private")
    for _ in range(2):
        with open(HERE + "/out.txt", "w") as file:
            file.write("shared")
    with open(HERE + "/out.txt") as file:
        file.read()
    os.rename(HERE + "/out.txt", HERE + "/moved.txt")
    os.remove(HERE + "/moved.txt")
    os.makedirs(HERE + "/tree/inner")
    shutil.rmtree(HERE + "/tree")
    sqlite3.connect(HERE + "/shop.db").close()

def test_processes():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "--password", "hunter2"])
    os.kill(child.pid, signal.SIGTERM)
    child.wait()

def test_a_thread():
    def write():
        with open(HERE + "/thread.txt", "w"):
            pass
    thread = threading.Thread(target=write)
    thread.start()
    thread.join()

def test_pollutes():
    os.environ["LEFT"] = "1"
    os.environ["SHOP_MODE"] = "production"
    os.environ["RESTORED"] = "1"
    del os.environ["RESTORED"]
    os.chdir("/")
    suite.registry["a"] = 1
    suite.Cache.entries["a"] = 1
    suite.shop.orders.append("a")
    suite.shop.open = True
    suite.big.append(1)
    suite.answer("why")

def test_changes_an_item():
    suite.registry["a"] = 2

def test_replaces_code(monkeypatch):
    monkeypatch.setattr(suite, "TOKEN", "x")
    suite.Shop.close = lambda self: None

def test_is_clean():
    os.chdir(HERE)

def test_cannot_connect():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        socket.create_connection(unused.getsockname(), timeout=5)

def test_kills_itself():
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    directory = tmp_path_factory.mktemp("suite")
    for name, text in {"suite.py": SUITE, "conftest.py": CONFTEST, "test_all.py": TESTS}.items():
        (directory / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", "test_all.py"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == -9, done.stdout
    return load(find(start=directory))


@pytest.fixture
def activities(record):
    def of(test, kind, phase=None):
        return [
            activity
            for activity in record.activities
            if activity.test == (test and f"test_all.py::{test}")
            and activity.kind == kind
            and phase in {None, activity.phase}
        ]

    return of


def test_connections_are_recorded_whoever_makes_them(activities):
    (resolved,) = [
        activity
        for activity in activities("test_connections", "resolve", "call")
        if activity.details["host"] == "localhost"
    ]
    inet = [
        activity
        for activity in activities("test_connections", "connect")
        if activity.details["address_family"] == "inet"
    ]
    (local,) = [
        activity
        for activity in activities("test_connections", "connect")
        if activity.details["address_family"] == "unix"
    ]
    (listening,) = activities("test_connections", "listen")

    assert resolved.count == 3
    assert {activity.details["host"] for activity in inet} == {"127.0.0.1"}
    assert sum(activity.count for activity in inet) == 4
    assert local.details["path"].endswith("/no.sock")
    assert listening.details["port"] == 0
    assert listening.function == "test_connections"
    assert listening.source.startswith("test_all.py:")


def test_a_fixture_s_activities_are_of_the_set_up_that_ran_it(activities):
    (written,) = activities("test_connections", "write", "setup")

    assert Path(written.details["path"]).name == "shared.json"
    assert written.function == "stack"
    assert written.source.startswith("conftest.py:")


def test_files_are_recorded_except_those_of_one_test(activities):
    paths = {
        activity.details["path"].rpartition("/")[2]: activity.count for activity in activities("test_files", "write")
    }

    assert paths == {"out.txt": 2}
    assert [Path(activity.details["to"]).name for activity in activities("test_files", "rename")] == ["moved.txt"]
    assert [Path(activity.details["path"]).name for activity in activities("test_files", "remove")] == [
        "moved.txt",
        "tree",
    ]
    assert [Path(activity.details["path"]).name for activity in activities("test_files", "sqlite")] == ["shop.db"]


def test_processes_are_recorded_without_their_secrets(activities):
    (spawned,) = activities("test_processes", "spawn")
    (killed,) = activities("test_processes", "kill")

    assert spawned.details["argv"][1:] == ["-c", "import time; time.sleep(60)", "--password", "***"]
    assert killed.details["signal"] == 15
    assert spawned.details["pids"] == [killed.details["pid"]]


def test_what_a_thread_does_is_the_test_s(activities):
    (written,) = activities("test_a_thread", "write")

    assert Path(written.details["path"]).name == "thread.txt"
    assert written.function.endswith("write")


def test_globals_left_changed_are_named_with_kinds(activities):
    left = {
        activity.details["name"]: (activity.details["was"], activity.details["now"])
        for activity in activities("test_pollutes", "global")
    }

    assert left == {
        "registry": ("empty dict", "dict of 1"),
        "Cache.entries": ("empty dict", "dict of 1"),
        "shop.orders": ("empty list", "list of 1"),
        "shop.open": ("bool", "bool"),
        "big": ("list of 1000", "list of 1001"),
        "answer": ("cache of 0", "cache of 1"),
    }


def test_a_changed_item_and_replaced_code_are_seen_and_what_was_undone_is_not(activities):
    (item,) = activities("test_changes_an_item", "global")
    (code,) = activities("test_replaces_code", "global")

    assert (item.details["module"], item.details["name"]) == ("suite", "registry")
    assert (code.details["name"], code.details["was"], code.details["now"]) == ("Shop.close", "missing", "function")
    assert activities("test_is_clean", "global") == []
    assert activities("test_is_clean", "environ") == []


def test_the_environment_and_the_directory_left_behind(activities):
    environ = {
        activity.details["name"]: (activity.details["was"], activity.details["now"])
        for activity in activities("test_pollutes", "environ")
    }
    (directory,) = activities("test_pollutes", "cwd")

    assert environ == {"LEFT": ("unset", "set"), "SHOP_MODE": ("set", "changed")}
    assert directory.details["now"] == "/"


def test_what_a_conftest_did_on_import_is_of_the_session(activities):
    assert "SHOP_MODE" in {activity.details["name"] for activity in activities(None, "env")}


def test_a_refused_connection_has_its_address(record):
    (test,) = [test for test in record.tests if test.test.endswith("test_cannot_connect")]

    assert test.error.errno == 111
    assert test.error.address.startswith("127.0.0.1:")


def test_the_kinds_of_globals_are_told_at_the_first_failure(record):
    kinds = {told.module: told.names for told in record.globals if told.test}

    assert kinds["suite"]["client"] == "None"
    assert kinds["suite"]["TOKEN"] == "str"
    assert kinds["suite"]["shop.orders"] == "list of 1"
    assert kinds["suite"]["Cache.entries"] == "dict of 1"


def test_a_test_that_kills_its_process_leaves_that_as_its_last_fact(record, activities):
    (killed,) = activities("test_kills_itself", "kill")

    assert killed.details["signal"] == 9
    assert [begun.test for begun in record.unfinished] == ["test_all.py::test_kills_itself"]
    assert record.end is None


def test_no_value_of_a_global_is_written(record):
    text = "".join(path.read_text() for path in record.directory.rglob("*.jsonl"))

    assert "a secret that no record may hold" not in text
    assert "hunter2" not in text


def test_activity_can_be_switched_off(pytester):
    pytester.makepyfile("import os\ndef test_one():\n    os.environ['LEFT'] = '1'\n")

    result = pytester.runpytest_subprocess("--muster-activity=off", "--muster-leaks=off", "-p", "no:cacheprovider")

    assert result.ret == 0
    assert load(find(start=pytester.path)).activities == ()


def test_a_run_within_a_run_does_not_take_its_activities(pytester):
    pytester.makeconftest("pytest_plugins = ['pytester']")
    pytester.makepyfile("""
        import os

        def test_outer(pytester):
            pytester.makepyfile("def test_inner(): import os; os.environ['INNER'] = '1'")
            pytester.runpytest_inprocess("-p", "no:cacheprovider", "--muster-leaks=off").assert_outcomes(passed=1)
            pytester.runpytest_inprocess("--no-such-option")
            os.environ["OUTER"] = "1"

        def test_after():
            os.environ["AFTER"] = "1"
    """)

    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:randomly", "--muster-leaks=off")

    assert result.ret == 0
    names = {
        activity.details["name"] for activity in load(find(start=pytester.path)).activities if activity.kind == "env"
    }
    assert {"AFTER"} <= names
    assert "INNER" not in names


BACKGROUND = """
import asyncio
import pytest_muster as muster

@muster.worker
async def client():
    async def serve(reader, writer):
        writer.close()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    done = []
    async def ask():
        while True:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            done.append(1)
            await asyncio.sleep(0.01)
    task = asyncio.create_task(ask())
    yield done
    task.cancel()
    server.close()
"""


def test_what_a_resource_asks_in_the_background_is_not_the_tests(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "conftest.py").write_text(BACKGROUND)
    (tmp_path / "test_it.py").write_text(
        "def test_it(client, muster_test):\n    seen = len(client)\n"
        "    muster_test.wait_until(lambda: len(client) > seen + 2, description='it asks')\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-p", "no:randomly"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    record = load(find("latest", tmp_path))

    assert done.returncode == 0, done.stdout
    assert [one for one in record.activities if one.kind == "connect"] == []
