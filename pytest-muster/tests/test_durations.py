"""What earlier runs say about durations, and what the plan makes of it."""

from pytest_muster.records.journal import Journal
from pytest_muster.schedule.durations import load_timings
from pytest_muster.schedule.plans import LongestFirst, Timings


def write_run(runs, id, *tests, ended=True, fixtures=()):
    journal = Journal(runs / id / "record.jsonl")
    for test, took, outcome in tests:
        journal.write("test", test=test, worker="gw0", outcome=outcome, phases={"call": {"took": took}})
    if ended:
        journal.write("end", exit=0)
    journal.close()
    worker = Journal(runs / id / "workers" / "gw0.jsonl")
    for node, scope, took, test in fixtures:
        worker.write("fixture", name="f", scope=scope, node=node, took=took, worker="gw0", test=test)
    worker.close()


def test_the_newest_finished_run_that_knows_a_test_counts(tmp_path):
    write_run(tmp_path, "20260101-a", ("t.py::a", 1.0, "passed"), ("t.py::b", 2.0, "passed"))
    write_run(tmp_path, "20260102-a", ("t.py::a", 3.0, "passed"))
    write_run(tmp_path, "20260103-a", ("t.py::a", 9.0, "passed"), ended=False)

    assert load_timings(tmp_path, ["t.py::a", "t.py::b", "t.py::new"]).took == {"t.py::a": 3.0, "t.py::b": 2.0}


def test_a_failure_counts_only_where_nothing_else_is_known(tmp_path):
    write_run(tmp_path, "20260101-a", ("t.py::a", 1.0, "passed"))
    write_run(tmp_path, "20260102-a", ("t.py::a", 60.0, "failed"), ("t.py::b", 5.0, "failed"))

    assert load_timings(tmp_path, ["t.py::a", "t.py::b"]).took == {"t.py::a": 1.0, "t.py::b": 5.0}


def test_fixtures_that_tests_share_are_told_apart_from_the_test(tmp_path):
    fixtures = [("t.py", "module", 4.0, "t.py::a"), ("", "session", 2.0, "t.py::a")]
    write_run(tmp_path, "20260101-a", ("t.py::a", 7.0, "passed"), ("t.py::b", 1.0, "passed"), fixtures=fixtures)

    timings = load_timings(tmp_path, ["t.py::a", "t.py::b"])

    assert timings == Timings(took={"t.py::a": 1.0, "t.py::b": 1.0}, shared={"t.py": 4.0})


def handed_out(tests, timings, workers=1):
    plan = LongestFirst(tests, range(len(tests)), timings, workers=workers, clock=lambda: 0.0)
    plan.open("gw0", 1)
    order = []
    while (test := plan.take("gw0")) is not None:
        order.append(tests[test])
        plan.done("gw0", test)
    return order


def test_the_longest_goes_first_and_what_hardly_matters_last_in_its_order():
    took = {"t.py::a": 0.01, "t.py::b": 5.0, "t.py::c": 0.02, "t.py::d": 9.0}

    assert handed_out(list(took), Timings(took=took)) == ["t.py::d", "t.py::b", "t.py::a", "t.py::c"]


def test_tests_of_a_module_with_costly_fixtures_stay_together():
    tests = ["a.py::1", "b.py::1", "a.py::2", "b.py::2", "a.py::3"]
    took = dict(zip(tests, [1.0, 2.0, 1.5, 1.0, 0.5], strict=True))

    together = handed_out(tests, Timings(took=took, shared={"a.py": 3.0, "b.py": 3.0}))
    apart = handed_out(tests, Timings(took=took))

    assert together == ["a.py::1", "a.py::2", "a.py::3", "b.py::1", "b.py::2"]
    assert apart == ["b.py::1", "a.py::2", "a.py::1", "b.py::2", "a.py::3"]


def test_without_a_record_files_stay_together_and_idle_workers_take_the_rear_half():
    tests = [f"a.py::{number}" for number in range(8)]
    plan = LongestFirst(tests, range(8), Timings(), clock=lambda: 0.0)
    plan.open("gw0", 1)
    plan.open("gw1", 2)

    taken = [plan.take("gw0"), plan.take("gw1"), plan.take("gw0"), plan.take("gw1")]

    assert taken == [0, 4, 1, 5]
