"""Shared resources start once, side by side; every worker reads the same values; one that fails ends the run."""

import signal

import pytest

from pytest_muster.exits import ExitCode

CONFTEST = """
import asyncio
import os
import signal
import time

import pytest_muster as muster


def log(*words):
    with open(os.environ["LOG"], "a") as file:
        file.write(" ".join(map(str, words)) + "\\n")


def logged(text):
    with open(os.environ["LOG"]) as file:
        return text in file.read()
"""


@pytest.fixture
def suite(nested):
    def write(conftest, tests):
        nested.write("conftest.py", CONFTEST)
        with (nested.directory / "conftest.py").open("a") as file:
            nested.write("more.py", conftest)
            file.write((nested.directory / "more.py").read_text())
        nested.write("test_it.py", tests)
        return nested

    return write


def test_what_does_not_depend_starts_side_by_side(suite):
    done = suite(
        """
        @muster.shared(timeout=20)
        def left():
            log("left begins")
            while not logged("right begins"):
                time.sleep(0.01)
            return 1

        @muster.shared(timeout=20)
        async def right():
            log("right begins")
            while not logged("left begins"):
                await asyncio.sleep(0.01)
            return 2

        @muster.shared
        def both(left, right):
            left_and_right = [left, right]
            yield left_and_right
            left_and_right.append("later changes do not travel")
        """,
        "def test_it(both, left): assert (both, left) == ([1, 2], 1)",
    ).run("-n", "1")

    assert done.code == 0, done.out
    assert [line["name"] for line in done.of("resource", event="ready")][2] == "both"


def test_every_worker_and_a_replacement_read_the_same_values_of_a_nested_conftest(nested):
    nested.write("package/__init__.py", "")
    nested.write("package/names.py", "NAME = 'orders'")
    nested.write(
        "package/conftest.py",
        """
        import os

        import pytest_muster as muster

        from .names import NAME

        @muster.shared
        def topic():
            '''Only workers import this file by themselves.'''
            return {"name": NAME, "pid": os.getpid(), "password": "secret-of-the-topic"}
        """,
    )
    nested.write(
        "package/test_it.py",
        """
        import os
        import stat
        from pathlib import Path

        import pytest

        @pytest.mark.parametrize("number", range(6))
        def test_it(number, topic):
            with open(os.environ["LOG"], "a") as file:
                file.write(f"{topic['name']} {topic['pid']} {os.getpid()}\\n")
            (shared,) = Path(".muster/runs").glob("*/shared.json")
            assert stat.S_IMODE(shared.stat().st_mode) == 0o600
            if number == 1:
                os._exit(1)
        """,
    )

    done = nested.run("-n", "1")

    assert "1 failed, 5 passed" in done.out
    told = {line.rpartition(" ")[0] for line in done.log}
    assert len(told) == 1
    assert told.pop().startswith("orders ")
    assert len({line.rpartition(" ")[2] for line in done.log}) == 2
    assert not list(nested.directory.glob(".muster/runs/*/shared.json"))


def test_a_set_up_that_fails_ends_the_run_with_one_error(suite):
    done = suite(
        """
        @muster.shared
        def disk():
            log("up disk")
            yield 1
            log("down disk")

        @muster.shared
        def database(disk, muster_run):
            muster_run.start(["sh", "-c", "echo FATAL: wrong password; exec sleep 600"], log="database.log")
            muster_run.wait_until(lambda: logged("queue begins"), description="the queue began")
            muster_run.wait_until(lambda: 1 / 0, timeout=0.5, description="database accepts connections")

        @muster.shared
        def queue(disk):
            log("queue begins")
            try:
                while True:
                    time.sleep(0.01)
            finally:
                log("queue was cut off")

        @muster.shared
        async def cache(disk):
            try:
                await asyncio.sleep(60)
            finally:
                log("cache was cut off")
        """,
        """
        import pytest

        @pytest.mark.parametrize("number", range(76))
        def test_it(number, database, queue, cache): ...
        """,
    ).run("-n", "2")

    assert done.code == ExitCode.INFRASTRUCTURE
    assert done.out.count("shared set-up of database =") == 1
    assert "not ready within 0.5 s: database accepts connections; last error: ZeroDivisionError" in done.out
    assert "FATAL: wrong password" in done.out
    assert done.of("test") == []
    assert sorted(done.log) == ["cache was cut off", "down disk", "queue begins", "queue was cut off", "up disk"]
    assert done.log[-1] == "down disk"
    (failed,) = done.of("resource", event="failed")
    assert failed["name"] == "database"
    assert "FATAL: wrong password" in failed["tail"]
    (end,) = done.of("end")
    assert end["stop_reason"] == "set-up failed"
    (stopping,) = done.of("resource", event="stopping")
    assert stopping["at"] - failed["at"] < 5, "the workers were not gone within about a second"


def test_a_set_up_that_takes_too_long_is_named_with_its_line(suite):
    done = suite(
        """
        @muster.shared(timeout=0.5)
        def slow():
            while True:
                time.sleep(0.01)  # no end
        """,
        "def test_it(slow): ...",
    ).run("-n", "0")

    assert done.code == ExitCode.INFRASTRUCTURE
    assert "not up within 0.5 s; it was still at conftest.py:" in done.out
    assert "time.sleep(0.01)  # no end" in done.out


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_resource_that_dies_is_told_of_and_makes_its_tests_infrastructure(suite, workers):
    done = suite(
        """
        @muster.shared
        def server(muster_run):
            process = muster_run.start(["sh", "-c", "echo out of memory; exec sleep 600"], log="server.log")
            muster_run.wait_until(lambda: process.poll() is None and process.tail(), description="server writes")
            muster_run.start(["true"]).wait(5)
            return process.pid

        @muster.shared
        def other(): ...
        """,
        """
        import os, signal

        def test_it(server):
            os.kill(server, signal.SIGKILL)
            assert not "connection refused"

        def test_of_the_other(other):
            assert other
        """,
    ).run("-n", workers)

    assert {line["test"]: line["outcome"] for line in done.of("test")} == {
        "test_it.py::test_it": "infrastructure",
        "test_it.py::test_of_the_other": "failed",
    }
    (died,) = done.of("resource", event="died")
    assert "ended with signal 9" in died["error"]
    assert died["tail"] == "out of memory"
    assert "shared resource server died" in done.out
    (probe,) = done.of("resource", event="probe")
    assert probe["name"] == "server"
    assert probe["ok"] is False
    assert done.code == 1


def test_a_resource_that_dies_makes_a_green_run_red(suite):
    done = suite(
        """
        @muster.shared
        def server(muster_run):
            return muster_run.start(["sleep", "600"]).pid
        """,
        """
        import os, signal

        def test_it(server):
            os.kill(server, signal.SIGKILL)
        """,
    ).run("-n", "0")

    assert done.code == ExitCode.INFRASTRUCTURE
    assert "1 passed" in done.out


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_resource_that_is_still_dying_when_the_run_ends_makes_it_red(suite, number):
    """The more memory a process has, the longer the kernel takes to end it: the run is over before that is done."""
    done = suite(
        """
        import sys

        @muster.shared
        def server(muster_run):
            code = "import time; memory = bytearray(1) * (200 << 20); print('up', flush=True); time.sleep(600)"
            process = muster_run.start([sys.executable, "-c", code])
            muster_run.wait_until(process.tail, description="server writes")
            yield process.pid
        """,
        f"""
        import os

        def test_it(server):
            os.kill(server, {int(number)})
        """,
    ).run("-n", "0")

    assert done.code == ExitCode.INFRASTRUCTURE
    assert len(done.of("resource", event="died")) == 1


def test_a_resource_that_dies_during_the_set_up_of_another_makes_a_green_run_red(suite):
    done = suite(
        """
        import os, signal

        @muster.shared
        def server(muster_run):
            return muster_run.start(["sleep", "600"]).pid

        @muster.shared
        def other(server, muster_run):
            os.kill(server, signal.SIGKILL)
            muster_run.wait_until(lambda: not os.path.exists(f"/proc/{server}/fd/0"), description="the server ends")
        """,
        "def test_it(other): ...",
    ).run("-n", "0")

    assert done.code == ExitCode.INFRASTRUCTURE
    assert "shared resource server died" in done.out


def test_a_resource_that_ends_its_process_itself_is_no_death(suite):
    done = suite(
        """
        import os, signal

        @muster.shared
        def server(muster_run):
            process = muster_run.start(["sleep", "600"])
            yield process.pid
            os.kill(process.pid, signal.SIGKILL)
            process.wait(5)
        """,
        "def test_it(server): ...",
    ).run("-n", "0")

    assert done.code == 0
    assert done.of("resource", event="died") == []


def test_a_worker_set_up_that_fails_is_tried_once_and_shown_once(suite):
    done = suite(
        """
        @muster.worker
        def client(muster_worker):
            log("tried")
            raise OSError("no route to the server")

        @muster.worker(timeout=0.3)
        async def late():
            log("tried")
            await asyncio.sleep(60)
        """,
        """
        import pytest

        @pytest.fixture
        def above(client): ...

        @pytest.mark.parametrize("number", range(8))
        def test_it(number, above): ...

        def test_late(late): ...

        def test_without(): ...
        """,
    ).run("-n", "2")

    assert len(done.log) <= 4
    assert done.code == ExitCode.INFRASTRUCTURE
    assert "9 Infrastructure" in done.out
    assert done.out.count("OSError: no route to the server") == 1
    assert "worker set-up of client on gw" in done.out
    assert "not up within 0.3 s; it was still at conftest.py:" in done.out
    assert len(done.of("test", outcome="infrastructure")) == 9


def test_worker_resources_live_once_a_worker_and_blame_no_test(suite):
    done = suite(
        """
        @muster.shared
        def server(): return {"url": "u"}

        @muster.worker
        def client(server, muster_worker, tmp_path_factory, request):
            log("up client", muster_worker.slot, request.scope)
            yield server["url"]
            log("down client")

        @muster.worker
        async def pool(client):
            yield client + "!"
            raise RuntimeError("the pool leaks")
        """,
        """
        import pytest

        @pytest.mark.parametrize("number", range(3))
        def test_it(number, pool): assert pool == "u!"
        """,
    ).run("-n", "1")

    assert done.log == ["up client 1 session", "down client"]
    assert "3 passed" in done.out
    assert "worker teardown of pool on gw0" in done.out
    assert "RuntimeError: the pool leaks" in done.out
    assert done.code == ExitCode.INFRASTRUCTURE


def test_hooks_tell_of_shared_resources(suite):
    done = suite(
        """
        @muster.shared
        def server(): return {"url": "u"}

        def pytest_muster_shared_ready(values): log("ready", values)

        def pytest_muster_shared_stopped(errors): log("stopped", errors)
        """,
        "def test_it(server): ...",
    ).run("-n", "1")

    assert done.log == ["ready {'server': {'url': 'u'}}", "stopped []"]


def test_nothing_starts_that_nobody_needs_or_runs(suite):
    nested = suite(
        """
        @muster.shared(always=True)
        def server(): log("up server")
        """,
        "def test_it(server): ...",
    )

    nested.run("-n", "0", "--collect-only")
    nested.run("-n", "0", "--setup-plan")
    nested.run("-n", "0", "-k", "nothing")

    assert not nested.log.exists()


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_resource_that_skips_skips_the_tests_that_need_it(suite, workers):
    done = suite(
        """
        import pytest

        @muster.shared
        def engine():
            pytest.skip("there is no container engine here")

        @muster.shared
        def database(engine): log("never")

        @muster.shared
        def disk(): return 1
        """,
        """
        def test_of_the_database(database): ...
        def test_of_the_engine(engine): ...
        def test_of_the_disk(disk): ...
        """,
    ).run("-n", workers, "-rs")

    assert done.code == 0
    assert "1 passed, 2 skipped" in done.out
    assert "there is no container engine here" in done.out
    assert done.log == []


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_shared_resource_logs_is_not_captured_by_the_tests_beside_it(suite, workers):
    done = suite(
        """
        import logging
        import threading

        log("declared")

        @muster.shared
        async def on_the_loop(muster_run):
            async def work():
                while not logged("test waits"):
                    await asyncio.sleep(0.01)
                logging.getLogger("server").warning("of the loop")
                log("loop logged")
            task = asyncio.create_task(work())
            yield 1
            await task

        @muster.shared
        def on_a_thread(muster_run):
            def work():
                while not logged("test waits"):
                    time.sleep(0.01)
                logging.getLogger("server").warning("of the thread")
                log("thread logged")
            thread = threading.Thread(target=work)
            thread.start()
            yield 1
            thread.join()
        """,
        """
        import logging
        import threading
        import time
        from conftest import log, logged

        def test_it(on_the_loop, on_a_thread, caplog):
            log("test waits")
            while not (logged("loop logged") and logged("thread logged")):
                time.sleep(0.01)
            thread = threading.Thread(target=logging.getLogger().warning, args=("of a thread of the test",))
            thread.start()
            thread.join()
            logging.getLogger().warning("of the test")

            assert [record.getMessage() for record in caplog.records] == ["of a thread of the test", "of the test"]
            raise ValueError
        """,
    ).run("-n", str(workers))

    (test,) = done.of("test")
    assert test["error"]["kind"] == "ValueError", test["error"]["text"]
    assert [line.split()[-1] for line in test["output"]["Captured log call"].splitlines()] == ["test", "test"]
