"""What is said of the planted suites holds: each is declared in full, and the classes are all there, twice."""

import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from pytest_muster.triage.findings import Cause

HERE = Path(__file__).parent
DECLARED = {path.parent.name: tomllib.loads(path.read_text()) for path in sorted(HERE.glob("suites/*/planted.toml"))}


def test_every_class_of_fault_is_planted_twice_beside_ten_healthy_suites():
    planted = Counter(told["cause"] for told in DECLARED.values() if "cause" in told)

    assert set(planted) == {str(cause) for cause in Cause}
    assert min(planted.values()) >= 2
    assert sum("cause" not in told for told in DECLARED.values()) >= 10


def test_a_declaration_says_who_may_fail():
    for name, told in DECLARED.items():
        assert set(told) <= {"about", "args", "cause", "victims", "polluter"}, name
        assert bool(told.get("victims")) == ("cause" in told), name
        assert ("polluter" in told) == (told.get("cause") == Cause.POLLUTION), name


def test_an_unknown_suite_is_refused_with_the_names_of_the_known():
    command = [sys.executable, HERE / "table.py", "no_such_suite"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert "no suite no_such_suite; there are: answer_of_a_thread" in done.stderr


REPRESENTATIVE = [
    "answer_of_a_thread",
    "child_kills_itself",
    "client_of_first_worker",
    "fixed_port",
    "healthy_expected_failures",
    "healthy_lazy_client",
    "healthy_own_child",
    "healthy_retries",
    "index_still_filling",
    "level_named_by_another_test",
    "listens_on_six_only",
    "one_topic_for_all",
    "report_of_all",
    "tax_left_at_zero",
    "words_that_mislead",
    "worker_removes_shared_directory",
]
"""One of each class; `make triage-table` judges all of them."""


def test_the_representatives_are_one_of_each_class():
    assert {DECLARED[name].get("cause") for name in REPRESENTATIVE} == {None, *map(str, Cause)}


@pytest.mark.parametrize("suite", REPRESENTATIVE)
def test_the_planted_cause_is_named_first_and_no_healthy_suite_is_accused(suite):
    command = [sys.executable, HERE / "table.py", suite]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
