"""However a run ends, its shared resources are torn down once, in order, after the last worker, and nothing is left."""

import os
import signal
from pathlib import Path

import pytest

from pytest_muster.exits import ExitCode
from pytest_muster.shutdown.deadline import parse_duration
from pytest_muster.workspace.leases import started

CONFTEST = """
import os
import time

import pytest_muster as muster


def log(*words):
    with open(os.environ["LOG"], "a") as file:
        file.write(" ".join(map(str, words)) + "\\n")


@muster.shared
def server(muster_run):
    log("up server", muster_run.start(["sleep", "600"]).pid, muster_run.directory)
    yield {"name": "server"}
    log("down server")
    if os.environ.get("TEARDOWN") == "fails":
        raise RuntimeError("the server does not let go")
    time.sleep(float(os.environ.get("TEARDOWN", 0)))
    log("end of server")


@muster.shared
async def topic(server):
    log("up topic")
    yield [server["name"]]
    log("down topic")


@muster.worker
def client(topic, muster_worker):
    log("up client", muster_worker.start(["sleep", "600"]).pid, muster_worker.directory)
    yield topic
    log("down client")
"""

TESTS = """
import os
import time

import pytest
from conftest import log

WHAT = os.environ.get("WHAT")


@pytest.mark.parametrize("number", range(6))
def test_it(number, client):
    log("begin", number)
    try:
        if number == 1:
            if WHAT == "fail":
                assert client == []
            if WHAT == "exit":
                os._exit(3)
        for _ in range(6000 if WHAT == "long" else 1):
            time.sleep(0.01)
    finally:
        log("end", number)
"""


@pytest.fixture
def suite(nested):
    nested.write("conftest.py", CONFTEST)
    nested.write("test_it.py", TESTS)
    return nested


def in_order(done):
    """Everything was set up and torn down once, the shared things after the last test, and nothing is left."""
    shared = [line for line in done.log if line.split()[1:2] in (["server"], ["topic"])]
    assert [line.split()[:2] for line in shared] == [
        ["up", "server"],
        ["up", "topic"],
        ["down", "topic"],
        ["down", "server"],
    ], done.out
    last = [line for line in done.log if not line.startswith("end of")][-2:]
    assert last == ["down topic", "down server"]
    for line in done.log:
        if line.startswith(("up server", "up client")):
            _, _, pid, directory = line.split()
            assert started(int(pid)) is None
            assert not Path(directory).exists()
    (end,) = done.of("end")
    assert end["exit"] == done.code
    return end["stop_reason"]


def begun(suite, eventually, tests):
    def check():
        return suite.log.exists() and suite.log.read_text().count("begin") >= tests

    eventually(check)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_all_passed(suite, workers):
    done = suite.run("-n", workers)

    assert in_order(done) == "finished"
    assert done.code == 0
    assert done.log.count("down client") == max(int(workers), 1)
    (teardown,) = done.of("phase", name="shared teardown")
    assert max(test["stop"] for test in done.of("test")) <= teardown["start"]


@pytest.mark.parametrize(
    ("arguments", "code", "stop_reason"),
    [
        (["-n", "2"], 1, "finished"),
        (["-n", "2", "--maxfail=1"], 2, "stopped"),
        (["-n", "0", "-x"], 1, "stopped"),
    ],
)
def test_a_test_failed(suite, arguments, code, stop_reason):
    done = suite.run(*arguments, WHAT="fail")

    assert in_order(done) == stop_reason
    assert done.code == code


@pytest.mark.parametrize("arguments", [["-n", "2"], ["-n", "1", "--max-worker-restart=0"]])
def test_a_worker_died(suite, arguments):
    done = suite.run(*arguments, WHAT="exit")

    assert in_order(done) == "finished"
    assert done.code == 1
    assert "worker 'gw0' crashed" in done.out or "worker 'gw1' crashed" in done.out


@pytest.mark.parametrize("workers", ["0", "2"])
def test_interrupted_once(suite, workers, eventually):
    running = suite.start("-n", workers, WHAT="long")
    begun(suite, eventually, max(int(workers), 1))
    os.killpg(running.pid, signal.SIGINT)

    done = suite.end(running)

    assert in_order(done) == "interrupted"
    assert done.code == 2
    assert "muster: tearing down server" in done.out


def test_interrupted_twice_and_again_in_the_teardown(suite, eventually):
    running = suite.start("-n", "2", WHAT="long", TEARDOWN="0.5")
    begun(suite, eventually, 2)
    for _ in range(2):
        os.kill(running.pid, signal.SIGINT)
    eventually(lambda: "down server" in suite.log.read_text())
    os.kill(running.pid, signal.SIGINT)

    done = suite.end(running)

    assert in_order(done) == "interrupted"
    assert done.code == 2
    assert "end of server" in done.log
    assert "SIGINT received; the teardown of server goes on" in done.out


@pytest.mark.parametrize("workers", ["0", "2"])
def test_terminated(suite, workers, eventually):
    running = suite.start("-n", workers, WHAT="long")
    begun(suite, eventually, max(int(workers), 1))
    running.terminate()

    done = suite.end(running)

    assert in_order(done) == "terminated"
    assert done.code == ExitCode.TERMINATED
    assert done.log.count("down client") == max(int(workers), 1)  # a test that is cut off lets its fixtures go


@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_deadline_is_over(suite, workers):
    done = suite.run("-n", workers, "--muster-deadline=10s", WHAT="long")

    assert in_order(done) == "deadline"
    assert done.code == ExitCode.DEADLINE
    assert "Deadline of 10 s exceeded. These tests were running:" in done.out
    assert f"on {'gw1' if workers == '2' else 'main'}, for " in done.out


def test_a_process_that_cannot_be_interrupted_is_left_in_order(suite):
    suite.write(
        "test_it.py",
        """
        import time

        def test_stubborn(topic):
            while True:
                try:
                    time.sleep(60)
                except BaseException:
                    pass
        """,
    )

    done = suite.run("-n", "0", "--muster-deadline=1", "-o", "timeout=0")

    assert in_order(done) == "deadline"
    assert done.code == ExitCode.DEADLINE
    assert "test_it.py::test_stubborn on main, for " in done.out


@pytest.mark.parametrize(
    ("teardown", "text"), [("fails", "the server does not let go"), ("40", "not torn down within")]
)
def test_a_shared_teardown_that_goes_wrong_has_a_name_of_its_own(suite, teardown, text):
    if teardown == "40":
        suite.write(
            "conftest.py", CONFTEST.replace("@muster.shared\ndef server", "@muster.shared(timeout=1)\ndef server")
        )

    done = suite.run("-n", "0", TEARDOWN=teardown)

    assert in_order(done) == "finished"
    assert done.code == ExitCode.INFRASTRUCTURE
    assert "shared teardown of server" in done.out
    assert text in done.out
    assert "6 passed" in done.out
    (stopped,) = done.of("resource", name="server", event="stopped")
    assert text in stopped["error"]


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), (" 2 m ", 120)])
def test_a_time_is_written_with_a_unit(text, value):
    assert parse_duration(text) == value


@pytest.mark.parametrize("text", ["", "soon", "-3", "0", "10 minutes", "1h30m"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(pytest.UsageError, match="write 90, 90s, 10m or 1h"):
        parse_duration(text)
