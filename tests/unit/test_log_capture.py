"""The logs of a test are its own, whatever shared resources start beside it."""

import threading
from pathlib import Path

import structlog

from pytest_muster.records.run import RESOURCE_THREAD
from support.logs import capture_logs

TESTS = Path(__file__).resolve().parents[1]


def test_what_shared_resources_log_is_not_captured(capsys):
    log = structlog.get_logger("test")

    with capture_logs() as logs:
        for name in (RESOURCE_THREAD, "of-the-test"):
            thread = threading.Thread(target=log.info, args=(f"logged by {name}",), name=name)
            thread.start()
            thread.join()
        log.info("logged by the test")

    assert [line["event"] for line in logs] == ["logged by of-the-test", "logged by the test"]
    assert capsys.readouterr().out == ""


def test_what_shared_resources_log_is_not_printed(capsys):
    thread = threading.Thread(target=structlog.get_logger("test").info, args=("unseen",), name=RESOURCE_THREAD)

    thread.start()
    thread.join()

    assert capsys.readouterr().out == ""


def test_no_test_captures_the_logs_of_others():
    users = [path for path in TESTS.rglob("*.py") if "structlog.testing" in path.read_text()]

    assert {path.relative_to(TESTS).as_posix() for path in users} == {"support/logs.py", "unit/test_log_capture.py"}
