"""What the recorded runs say together."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_muster.cli import main
from pytest_muster.records.history import history_of, wilson
from pytest_muster.records.journal import Journal, Outcome
from pytest_muster.records.run_record import Error, Header, PhaseRun, RunRecord, TestRun


def a_test(name, outcome=Outcome.PASSED, *, took=(0.0, 0.1, 0.0), worker="gw0", slot=1):
    phases = {
        phase: PhaseRun(start=0, took=time, outcome="passed")
        for phase, time in zip(("setup", "call", "teardown"), took, strict=True)
    }
    error = Error(kind="AssertionError") if outcome is Outcome.FAILED else None
    return TestRun(test=name, worker=worker, slot=slot, outcome=outcome, start=0, stop=1, phases=phases, error=error)


def a_record(id, *tests, revision="abc", dirty=False):
    header = Header(run=id, revision=revision, dirty=dirty)
    return RunRecord(id=id, directory=Path(id), header=header, tests=tests)


FAILED = Outcome.FAILED


def test_slow_is_the_median_with_set_up_and_body_apart():
    records = [
        a_record("1", a_test("slow", took=(1.0, 2.0, 0.5)), a_test("quick")),
        a_record("2", a_test("slow", took=(1.0, 4.0, 0.5))),
        a_record("3", a_test("slow", took=(1.0, 90.0, 0.5)), a_test("slow", FAILED, took=(0, 999, 0))),
    ]

    slow, quick = history_of(records).slow

    assert (slow.test, slow.runs, slow.setup, slow.call, slow.teardown) == ("slow", 3, 1.0, 4.0, 0.5)
    assert (slow.total, slow.longest) == (5.5, 91.5)
    assert quick.test == "quick"


def test_flaky_is_what_passed_and_failed_at_one_revision():
    records = [
        a_record("1", a_test("a"), a_test("fixed", FAILED), revision="one"),
        a_record("2", a_test("a", FAILED, worker="gw1", slot=2), a_test("fixed"), revision="two"),
        a_record("3", a_test("a"), a_test("fixed"), revision="two"),
    ]

    (flaky,) = history_of(records).flaky

    assert (flaky.test, flaky.passed, flaky.failed) == ("a", 1, 1)
    assert flaky.slots == {2: 1}
    assert (flaky.failures[0].run, flaky.failures[0].worker, flaky.failures[0].kind) == ("2", "gw1", "AssertionError")


def test_uncommitted_changes_and_unknown_revisions_are_not_counted_unless_asked_for():
    records = [
        a_record("1", a_test("a"), dirty=True),
        a_record("2", a_test("a", FAILED), dirty=True),
        a_record("3", a_test("a", FAILED), revision=None),
    ]

    assert history_of(records).flaky == ()
    assert history_of(records).counted == 0
    assert history_of(records, any_revision=True).flaky[0].failed == 2


def test_skipped_pending_and_infrastructure_are_no_failures():
    records = [
        a_record("1", a_test("a"), a_test("b", Outcome.SKIPPED), a_test("c", Outcome.INFRASTRUCTURE)),
        a_record("2", a_test("a", Outcome.PENDING), a_test("b"), a_test("c")),
    ]

    assert history_of(records).flaky == ()


def test_tests_that_fail_in_the_same_runs_are_named_together():
    records = [
        a_record("1", a_test("a"), a_test("b"), a_test("alone", FAILED)),
        a_record("2", a_test("a", FAILED), a_test("b", FAILED), a_test("alone")),
        a_record("3", a_test("a", FAILED), a_test("b", FAILED), a_test("alone")),
    ]

    (group,) = history_of(records).failure_groups

    assert group.tests == ("a", "b")
    assert group.runs == ("2", "3")


@given(of=st.integers(1, 500), data=st.data())
def test_the_interval_holds_the_rate_and_is_a_part_of_0_to_1(of, data):
    hits = data.draw(st.integers(0, of))

    low, high = wilson(hits, of)

    assert 0 <= low <= hits / of + 1e-9
    assert hits / of - 1e-9 <= high <= 1


def test_the_interval_is_wilson_s():
    assert wilson(1, 10) == pytest.approx((0.0179, 0.4042), abs=1e-4)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(4):
        id = f"2026010{number + 1}T000000Z-aaaaaa"
        journal = Journal(tmp_path / ".muster" / "runs" / id / "record.jsonl")
        journal.write("run", run=id, schema=1, revision="abc", dirty=False)
        for name in ("a.py::test_a", "a.py::test_b"):
            journal.write(
                "test",
                test=name,
                worker="gw0",
                slot=1,
                outcome="failed" if number == 2 else "passed",
                start=1.0,
                stop=2.0,
                phases={"call": {"start": 1.0, "took": 0.25, "outcome": "passed"}},
            )
        journal.close()
    return tmp_path


def test_the_table_shows_slow_and_flaky_tests_and_what_fails_together(project, capsys):
    assert main(["history"]) == 0

    shown = capsys.readouterr().out
    assert "Slowest 2 of 2 tests, 100% of the time" in shown
    assert "0.250 s" in shown
    assert "1/4" in shown
    assert "25%" in shown
    assert "2 of these fail together, in 20260103T000000Z-aaaaaa" in shown
    assert "muster triage 20260103T000000Z-aaaaaa" in shown


def test_one_part_and_fewer_runs_can_be_asked_for(project, capsys):
    assert main(["history", "--flaky", "--runs", "1"]) == 0

    shown = capsys.readouterr().out
    assert "No flaky tests. 1 of 1 runs count" in shown
    assert "Slowest" not in shown


def test_json_has_the_same(project, capsys):
    assert main(["history", "--json"]) == 0

    written = json.loads(capsys.readouterr().out)
    assert [one["test"] for one in written["flaky"]] == ["a.py::test_a", "a.py::test_b"]
    assert written["flaky"][0]["rate"] == 0.25
    assert written["flaky"][0]["slots"] == {"1": 1}
    assert written["failure_groups"][0]["runs"] == ["20260103T000000Z-aaaaaa"]
    assert written["slow"][0]["call"] == 0.25


def test_without_records_it_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    assert main(["history"]) == 3
    assert "run pytest with pytest-muster first" in capsys.readouterr().err
