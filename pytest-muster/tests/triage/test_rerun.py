"""Reruns repeat what they are asked for, within bounds, and leave no trace in the history of a project."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_muster.records import reader
from pytest_muster.records.run_record import LEAK_FAILURE
from pytest_muster.triage.engine import triage
from pytest_muster.triage.findings import Cause
from pytest_muster.triage.rerun import Rerun, environment, kept_arguments
from pytest_muster.triage.run_view import RunView

POLLUTED = """
import shop
import pytest

@pytest.mark.parametrize("count", range(4))
def test_price(count):
    assert shop.price(count) == count

def test_sale():
    shop.factor = 0

@pytest.mark.parametrize("count", range(1, 4))
def test_total(count):
    assert shop.price(count)
"""

SHOP = """
factor = 1

def price(count):
    return count * factor
"""


def a_run(directory, *args):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", *args]
    done = subprocess.run(
        command, cwd=directory, env=environment(os.environ), capture_output=True, text=True, timeout=60, check=False
    )
    return reader.load(reader.newest(directory / ".muster")), done.stdout


@pytest.fixture
def project(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def test_a_polluter_is_named_within_log2_plus_two_reruns_that_are_no_runs_of_the_project(project):
    (project / "shop.py").write_text(SHOP)
    (project / "test_shop.py").write_text(POLLUTED)
    record, output = a_run(project)
    said = []

    found = triage(record, rerun=Rerun(record, report=said.append))

    [finding] = found.findings
    assert finding.cause is Cause.POLLUTION
    assert finding.polluter == "test_shop.py::test_sale"
    assert finding.reruns <= 5
    assert set(finding.tests) == {f"test_shop.py::test_total[{count}]" for count in range(1, 4)}
    assert len(said) == 5
    assert f"muster triage {record.id}" in output
    assert reader.runs(project / ".muster") == [record.directory]


def test_a_project_without_a_configuration_file_is_rerun_as_it_ran(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "test_one.py").write_text("def test_one():\n    assert 1 + 1 == 3\n")
    record, _ = a_run(tmp_path)

    [finding] = triage(record, rerun=Rerun(record)).findings

    assert finding.cause is Cause.DEFECT
    assert finding.confidence >= 0.9


def test_a_triage_without_reruns_presumes_and_says_so(project):
    (project / "test_one.py").write_text("def test_one():\n    assert 1 + 1 == 3\n")
    record, _ = a_run(project)

    [finding] = triage(record).findings

    assert (finding.cause, finding.confidence) == (Cause.DEFECT, 0.5)


def test_a_rerun_that_hangs_is_ended_and_has_no_result(project):
    (project / "test_one.py").write_text("import time\n\ndef test_one():\n    time.sleep(60)\n")
    (project / "test_two.py").write_text("def test_two():\n    assert 0\n")
    record, _ = a_run(project, "test_two.py")
    since = time.monotonic()

    result = Rerun(record, timeout=4.0).ordered(["test_one.py::test_one"])

    assert result is None or result.passes("test_one.py::test_one") is None
    assert time.monotonic() - since < 20


CHANGES_ITS_MIND = """
import os

def test_one():
    if os.path.exists("seen"):
        raise LookupError("another error")
    open("seen", "w").close()
    assert 1 + 1 == 3
"""


def test_a_failure_of_another_class_or_at_another_place_is_no_repetition(project):
    (project / "test_one.py").write_text(CHANGES_ITS_MIND)
    record, _ = a_run(project)

    found = triage(record, rerun=Rerun(record))

    assert found.findings == ()
    assert found.unexplained == ("test_one.py::test_one",)


LEAKS = """
import os

def test_one():
    if os.path.exists("seen"):
        os.environ["TWO"] = "1"
    else:
        os.environ["ONE"] = "1"
    open("seen", "w").close()

def test_two():
    os.environ["BOTH"] = "1"
"""


def test_a_leak_is_repeated_by_the_same_leak_only_and_reruns_keep_the_setting(project):
    (project / "test_one.py").write_text(LEAKS)
    record, _ = a_run(project, "--muster-leaks=fail")
    view = RunView(record)

    result = Rerun(record).ordered([failure.test for failure in view.failures])

    assert [failure.error.kind for failure in view.failures] == [LEAK_FAILURE, LEAK_FAILURE]
    assert [result.repeats(failure, view) for failure in view.failures] == [None, True]


def test_a_test_that_passes_in_the_order_of_all_tests_is_no_defect(project):
    suite = Path(__file__).parents[1] / "planted" / "suites" / "level_named_by_another_test"
    for name in ("levels.py", "test_levels.py"):
        (project / name).write_text((suite / name).read_text())
    record, _ = a_run(project, "-n2")

    [finding] = triage(record, rerun=Rerun(record)).findings

    assert finding.cause is Cause.ORDER_DEPENDENCY
    assert "only if test_levels.py::test_levels_can_be_named ran before it" in finding.title


def test_no_rerun_is_made_beyond_the_bound(project):
    (project / "test_two.py").write_text("def test_two():\n    assert 0\n")
    record, _ = a_run(project)
    rerun = Rerun(record, max_runs=0)

    assert rerun.ordered(["test_two.py::test_two"]) is None
    assert triage(record, rerun=rerun).unexplained == ("test_two.py::test_two",)


@pytest.mark.parametrize(
    ("argv", "kept"),
    [
        (["-n", "4", "--dist", "worksteal", "tests"], []),
        (["-n4", "--dist=load", "-x", "--maxfail=1"], []),
        (["-k", "one and two", "-m", "not slow", "tests/test_one.py::test_one"], []),
        (["-p", "no:randomly", "-W", "error", "-o", "asyncio_mode=auto"], None),
        (
            ["--import-mode", "importlib", "--strict-markers", "--junitxml=report.xml"],
            ["--import-mode", "importlib", "--strict-markers"],
        ),
        (["--muster-deadline=10m", "--muster-triage", "-rA", "--own-option=1"], ["--own-option=1"]),
        (["--muster-leaks", "fail", "--muster-leaks=threads"], None),
    ],
)
def test_arguments_that_choose_tests_workers_or_reports_are_left_out(tmp_path, argv, kept):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_one.py").touch()

    assert kept_arguments(argv, tmp_path) == (argv if kept is None else kept)
