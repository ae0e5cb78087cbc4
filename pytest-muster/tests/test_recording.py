"""The record says of each test what became of it, where and when, also if its process died."""

import os
import re
import signal
import subprocess
import sys

import pytest

from pytest_muster.records import activity
from pytest_muster.records import journal as schema
from pytest_muster.records.history import history_of
from pytest_muster.records.journal import Outcome
from pytest_muster.records.reader import find, load

CONFTEST = """
import pytest_muster as muster

@muster.shared
def shop():
    return {"password": "correct-horse", "url": "postgres://shop:battery-staple@127.0.0.1/shop"}
"""

TESTS = """
import os, time
import pytest

@pytest.fixture
def breaks_after():
    print("set up")
    yield
    raise OSError(2, "gone", "/nowhere")

def test_passes():
    pass

def test_fails(shop):
    print("token=abcdef in the output, and", shop["password"], shop["url"].split(":")[2])
    assert 1 == 2

def test_fails_twice(breaks_after):
    raise ValueError("body")

def test_breaks_after(breaks_after):
    pass

def test_skips():
    pytest.skip("no database")

@pytest.mark.xfail(reason="known")
def test_expected():
    assert 0

@pytest.mark.xfail(strict=True)
def test_unexpected():
    pass

@pytest.mark.pending("later")
def test_pending():
    raise AssertionError("must not run")

@pytest.mark.serial
def test_serial():
    pass

def test_crashes():
    print("before")
    os._exit(3)
"""


def a_run(directory, *arguments, returncode=1):
    command = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == returncode, done.stdout + done.stderr
    return load(find(start=directory))


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    directory = tmp_path_factory.mktemp("suite")
    (directory / "conftest.py").write_text(CONFTEST)
    (directory / "test_all.py").write_text(TESTS)
    return a_run(directory, "-n", "2")


@pytest.fixture
def the(record):
    by_name = {test.test.rpartition("_all.py::test_")[2]: test for test in record.tests}
    return by_name.__getitem__


def test_each_test_has_one_line(record):
    assert len(record.tests) == len({test.test for test in record.tests}) == 10
    assert record.header.workers == 2
    assert record.header.cwd == record.header.rootdir


def test_outcomes(the):
    outcomes = {
        name: the(name).outcome
        for name in (
            "passes",
            "fails",
            "breaks_after",
            "skips",
            "expected",
            "unexpected",
            "pending",
            "serial",
            "crashes",
        )
    }

    assert outcomes == {
        "passes": Outcome.PASSED,
        "fails": Outcome.FAILED,
        "breaks_after": Outcome.FAILED,
        "skips": Outcome.SKIPPED,
        "expected": Outcome.PASSED,
        "unexpected": Outcome.FAILED,
        "pending": Outcome.PENDING,
        "serial": Outcome.PASSED,
        "crashes": Outcome.FAILED,
    }


def test_reasons(the):
    assert the("skips").reason == "no database"
    assert the("pending").reason == "later"
    assert the("expected").reason == "xfail: known"


def test_times_and_places(the):
    passed = the("passes")

    assert list(passed.phases) == ["setup", "call", "teardown"]
    assert passed.start <= passed.stop
    assert passed.slot in {1, 2}
    assert the("serial").serial
    assert not passed.serial


def test_errors_and_what_was_captured(the):
    failed = the("fails")

    assert failed.error.kind == "AssertionError"
    assert failed.error.phase == "call"
    assert failed.error.frames[-1].code == "assert 1 == 2"
    assert "assert 1 == 2" in failed.error.text
    assert "token=***" in "".join(failed.output.values())
    assert "XPASS(strict)" in the("unexpected").error.text


def test_secrets_of_shared_resources_are_in_no_file(record):
    text = "".join(path.read_text() for path in record.directory.rglob("*") if path.is_file())

    assert "test_fails" in text
    for secret in ("correct-horse", "battery-staple", "abcdef"):
        assert secret not in text


def test_a_body_and_its_teardown_fail_apart(the):
    twice = the("fails_twice")

    assert (twice.error.phase, twice.error.kind) == ("call", "ValueError")
    assert (twice.teardown_error.phase, twice.teardown_error.kind) == ("teardown", "FileNotFoundError")
    assert twice.teardown_error.address == "/nowhere"
    assert the("breaks_after").error.phase == "teardown"
    assert the("breaks_after").teardown_error is None


def test_a_crash_is_a_failure_on_its_worker(record, the):
    crashed = the("crashes")

    assert (crashed.error.kind, crashed.error.phase) == ("WorkerCrash", "call")
    assert crashed.worker in {event.worker for event in record.workers if event.event == "crashed"}
    assert crashed.worker in crashed.error.message
    assert crashed.start > 0


def test_the_end_counts_the_tests(record):
    assert record.end.counts == {"passed": 3, "failed": 5, "skipped": 1, "pending": 1}
    assert record.end.exit == 1
    assert {"collection", "tests"} <= {phase.name for phase in record.phases}
    assert record.unfinished == ()


def test_every_field_that_is_written_is_in_the_reference(record):
    of_types = dict(re.findall(r"^    (\w+) +((?:.*\n)(?:     .*\n)*)", schema.__doc__, re.MULTILINE))
    undocumented = {
        (line["type"], field)
        for line in schema.read(record.directory)
        for field in line
        if field not in {"type", "at"}
        and not re.search(
            rf"\b{field}\b", of_types[line["type"]] + (activity.__doc__ if line["type"] == "activity" else "")
        )
    }

    assert undocumented <= {("test", "teardown_error")}  # explained below the table
    assert set(of_types) >= {line["type"] for line in schema.read(record.directory)}


def test_what_cannot_be_collected_is_told(pytester):
    pytester.makepyfile("import no_such_module_anywhere")

    record = a_run(pytester.path, returncode=2)

    (uncollected,) = record.collection_failures
    assert "no_such_module_anywhere" in uncollected.text
    assert record.end.exit == 2


def test_a_killed_run_leaves_what_it_had(tmp_path, eventually):
    (tmp_path / "test_one.py").write_text(
        "import time\ndef test_a():\n    pass\ndef test_b():\n    open('begun', 'w').close()\n    time.sleep(60)\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", "-n", "1"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        eventually((tmp_path / "begun").exists)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    record = load(find(start=tmp_path))

    assert [test.test for test in record.tests] == ["test_one.py::test_a"]
    assert [(begun.test, begun.order) for begun in record.unfinished] == [("test_one.py::test_b", 1)]
    assert record.end is None


RERUNS = """
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    '''What pytest-rerunfailures does, with one rerun.'''
    for attempt in range(2):
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        failed = any(report.failed for report in reports)
        for report in reports:
            if report.failed and not attempt:
                report.outcome = "rerun"
            item.ihook.pytest_runtest_logreport(report=report)
            if report.outcome == "rerun" and {breaks}:
                break
        if not failed:
            break
    return True
"""


@pytest.mark.parametrize("breaks", [False, True], ids=["every phase is reported", "no phase after a failure is"])
@pytest.mark.parametrize("workers", ["0", "1"])
def test_an_attempt_that_is_repeated_is_a_line_of_its_own(nested, workers, breaks):
    nested.write("conftest.py", RERUNS.replace("{breaks}", str(breaks)))
    nested.write(
        "test_it.py",
        """
        attempts = []

        def test_flaky():
            attempts.append(1)
            assert len(attempts) == 2

        def test_fails():
            assert 0

        def test_passes():
            pass
        """,
    )

    record = load(find(start=nested.directory)) if nested.run("-n", workers).code == 1 else None

    outcomes = {test.test.partition("::")[2]: test.outcome for test in record.tests}
    assert outcomes == {"test_flaky": "passed", "test_fails": "failed", "test_passes": "passed"}
    assert len(record.tests) == 3
    assert record.end.counts == {"passed": 2, "failed": 1}
    assert [(one.test.partition("::")[2], one.error.kind, one.phases["call"].outcome) for one in record.attempts] == [
        ("test_flaky", "AssertionError", "failed"),
        ("test_fails", "AssertionError", "failed"),
    ]
    assert [flaky.test for flaky in history_of([record], any_revision=True).flaky] == ["test_it.py::test_flaky"]


def test_a_failure_that_ends_the_run_in_the_debugger_is_recorded(nested):
    nested.write("test_it.py", "def test_one():\n    assert 0\n\ndef test_two():\n    pass\n")

    done = nested.run("-n0", "--pdb")

    assert done.code == pytest.ExitCode.INTERRUPTED
    (test,) = done.of("test")
    assert (test["test"], test["outcome"]) == ("test_it.py::test_one", "failed")


SHOWN_ONLY = [
    "--collect-only",
    "--collect-only -n1",
    "--fixtures",
    "--setup-plan",
    "--markers",
    "--help",
    "no_such_test.py",
]


def test_what_runs_no_test_does_not_take_the_place_of_the_newest_run(nested):
    nested.write("test_it.py", "def test_one():\n    assert 0\n")
    nested.run("-n0")
    newest = find(start=nested.directory)

    for options in SHOWN_ONLY:
        nested.run(*options.split())

    assert [run.name for run in newest.parent.iterdir()] == [newest.name]
