"""What more workers bring, from records."""

import pytest

from pytest_muster import cli
from pytest_muster.records.journal import Outcome
from pytest_muster.records.reader import RecordError
from pytest_muster.records.run_record import End, Header, RunRecord, SuitePhase, TestRun
from pytest_muster.schedule.compare import Sample, differences, sample, table


def a_sample(workers, tests=8.0, **verdicts):
    return Sample(
        workers=workers,
        tests=tests,
        busy=8.0,
        set_up=1.0,
        teardown=0.5,
        total=tests + 3,
        verdicts=verdicts or {"a": "passed"},
    )


def test_a_record_becomes_figures(tmp_path):
    tests = tuple(
        TestRun(test=name, worker=worker, outcome=Outcome.PASSED, start=start, stop=stop)
        for name, worker, start, stop in [("a", "gw0", 10.0, 14.0), ("b", "gw1", 10.0, 12.0)]
    )
    record = RunRecord(
        id="r",
        directory=tmp_path,
        header=Header(),
        tests=tests,
        phases=(SuitePhase(name="shared set-up", start=5.0, stop=9.0),),
        end=End(exit=0, at=20.0, wall=16.0),
    )

    found = sample(record, workers=2)

    assert (found.tests, found.busy, found.utilisation) == (4.0, 6.0, 0.75)
    assert (found.set_up, found.teardown, found.total) == (4.0, 0.0, 16.0)


def test_a_record_without_tests_is_no_figure(tmp_path):
    with pytest.raises(RecordError, match="nothing to compare"):
        sample(RunRecord(id="r", directory=tmp_path, header=Header()), workers=1)


def test_the_table_shows_medians_and_the_speed_up_of_the_test_phase():
    lines = table([a_sample(1), a_sample(4, tests=2.5), a_sample(4, tests=2.0), a_sample(4, tests=9.0)])

    assert lines[1].split() == ["1", "8.00", "s", "1.00x", "100%", "1.00", "s", "0.50", "s", "11.00", "s", "1"]
    assert lines[2].split()[:5] == ["4", "2.50", "s", "3.20x", "80%"]


def test_verdicts_that_differ_are_named_with_the_worker_counts():
    runs = [
        a_sample(1, a="passed", b="passed"),
        a_sample(2, a="failed", b="passed"),
        a_sample(4, a="failed", b="passed"),
    ]

    assert differences(runs) == ["a: failed with 2, 4 workers; passed with 1 worker"]


def test_a_test_that_fails_beside_others_only_is_found(nested, monkeypatch, capfd):
    nested.write(
        "test_it.py",
        """
        import os

        def test_steady():
            pass

        def test_alone():
            assert os.environ["PYTEST_XDIST_WORKER_COUNT"] == "1"
        """,
    )
    monkeypatch.chdir(nested.directory)

    code = cli.main(["compare", "--workers", "1,2", "--rounds", "1", "--", "-p", "no:randomly", "-p", "no:asyncio"])

    out = capfd.readouterr().out
    assert code == 1, out
    assert "differs: test_it.py::test_alone: failed with 2 workers; passed with 1 worker" in out
    assert [line.split()[0] for line in out.splitlines()[:3]] == ["workers", "1", "2"]


@pytest.mark.parametrize("arguments", [["--workers", "0"], ["--workers", "a"], ["--rounds", "0"]])
def test_wrong_usage_is_told(arguments, capfd):
    with pytest.raises(SystemExit) as ending:
        cli.main(["compare", *arguments])

    assert ending.value.code == 2
    assert "give" in capfd.readouterr().err or arguments == ["--workers", "0"]
