"""Each cause is claimed from structure alone: who failed where and when, and who touched what. No word decides."""

import errno
import re
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_muster.records.journal import Outcome
from pytest_muster.records.run_record import (
    Activity,
    Error,
    Frame,
    Globals,
    Header,
    Leak,
    PhaseRun,
    ResourceEvent,
    RunRecord,
    TestRun,
    WorkerEvent,
)
from pytest_muster.triage.engine import groups, triage
from pytest_muster.triage.findings import Cause
from pytest_muster.triage.patterns import BUILT_IN, Pattern
from pytest_muster.triage.run_view import RunView

REFUSED = Error(phase="call", kind="OSError", kinds=("OSError",), errno=errno.ECONNREFUSED)
WRONG = Error(phase="call", kind="AssertionError", kinds=("AssertionError",))


def a_test(name, worker, at, *, error=None, took=0.1, order=None):
    phases = {
        "setup": PhaseRun(start=at, took=0.0, outcome="passed"),
        "call": PhaseRun(start=at, took=took, outcome="failed" if error else "passed"),
        "teardown": PhaseRun(start=at + took, took=0.0, outcome="passed"),
    }
    if error is not None:
        error = replace(error, frames=error.frames or (Frame(file="test_it.py", line=3, function=name),))
    return TestRun(
        test=f"test_it.py::{name}",
        worker=worker,
        order=int(at * 10) if order is None else order,
        outcome=Outcome.FAILED if error else Outcome.PASSED,
        start=at,
        stop=at + took,
        phases=phases,
        error=error,
    )


def an_activity(kind, worker, at, test=None, phase="call", **details):
    name = f"test_it.py::{test}" if test else None
    return Activity(kind=kind, worker=worker, at=at, test=name, phase=phase, source="conftest.py:9", details=details)


def a_connection(worker, at, test, port=5000, host="127.0.0.1", family="inet", phase="call"):
    return an_activity("connect", worker, at, test, phase, address_family=family, host=host, port=port)


def a_record(tests, **fields):
    return RunRecord(id="run", directory=Path("run"), header=Header(rootdir="/project"), tests=tuple(tests), **fields)


def named(record):
    return [(finding.cause, set(finding.tests)) for finding in triage(record).findings]


def ids(*names):
    return {f"test_it.py::{name}" for name in names}


@pytest.fixture
def torn_down():
    """gw0 ends at 0.2 and kills what gw1 still uses at 0.3 and 0.4."""
    tests = [
        a_test("a", "gw0", 0.0),
        a_test("b", "gw1", 0.0),
        a_test("c", "gw1", 0.3, error=WRONG),
        a_test("d", "gw1", 0.4, error=WRONG),
    ]
    activities = [
        a_connection("gw0", 0.05, "a"),
        a_connection("gw1", 0.05, "b"),
        an_activity("kill", "gw0", 0.2, "a", "teardown", pid=77, signal=15, group=False),
        a_connection("gw1", 0.35, "c"),
        a_connection("gw1", 0.45, "d"),
    ]
    return a_record(tests, activities=tuple(activities))


def test_what_a_worker_kills_at_its_end_is_lost_to_the_others(torn_down):
    assert named(torn_down) == [(Cause.EARLY_TEARDOWN, ids("c", "d"))]


def test_a_worker_that_ends_its_own_child_is_not_sure_to_have_done_it(torn_down):
    spawn = an_activity("spawn", "gw0", 0.0, "a", "setup", argv=["server"], pids=[77])
    [finding] = triage(replace(torn_down, activities=(spawn, *torn_down.activities))).findings

    assert finding.confidence < triage(torn_down).findings[0].confidence


def test_a_process_that_another_worker_ended_before_anybody_used_it_is_named():
    tests = [a_test("a", "gw0", 0.0), a_test("b", "gw1", 0.1), a_test("c", "gw1", 0.3, error=REFUSED)]
    activities = (
        an_activity("spawn", "gw1", 0.0, "b", "setup", argv=["server"], pids=[77]),
        an_activity("kill", "gw0", 0.2, "a", "teardown", pid=77, signal=15, group=False),
        a_connection("gw1", 0.35, "c"),
    )

    assert named(a_record(tests, activities=activities)) == [(Cause.EARLY_TEARDOWN, ids("c"))]
    # Nothing speaks for it where the worker had started that process itself, or where somebody was served later.
    own = replace(activities[0], worker="gw0", test="test_it.py::a")
    assert Cause.EARLY_TEARDOWN not in dict(named(a_record(tests, activities=(own, *activities[1:]))))
    served = [*tests, a_test("d", "gw1", 0.5)]
    later = (*activities, a_connection("gw1", 0.55, "d"))
    assert Cause.EARLY_TEARDOWN not in dict(named(a_record(served, activities=later)))


def test_a_teardown_after_the_failures_explains_nothing(torn_down):
    late = tuple(
        replace(activity, at=0.6) if activity.kind == "kill" else activity for activity in torn_down.activities
    )

    assert Cause.EARLY_TEARDOWN not in [cause for cause, _ in named(replace(torn_down, activities=late))]


def test_a_target_that_serves_others_after_the_teardown_was_not_lost(torn_down):
    fine = [a_test(f"e{number}", "gw2", 0.3) for number in range(3)]
    more = [a_connection("gw2", 0.35, f"e{number}") for number in range(3)]
    record = replace(torn_down, tests=(*torn_down.tests, *fine), activities=(*torn_down.activities, *more))

    assert Cause.EARLY_TEARDOWN not in [cause for cause, _ in named(record)]


def test_what_a_worker_removes_at_its_end_without_having_made_it_is_suspect():
    tests = [a_test("a", "gw0", 0.0), a_test("b", "gw1", 0.0), a_test("c", "gw1", 0.3, error=WRONG)]
    action = an_activity("remove", "gw0", 0.2, "a", "teardown", path="/tmp/shelf")
    own = an_activity("mkdir", "gw0", 0.0, "a", "setup", path="/tmp/shelf")

    assert named(a_record(tests, activities=(action,))) == [(Cause.EARLY_TEARDOWN, ids("c"))]
    assert named(a_record(tests, activities=(own, action))) == [(Cause.DEFECT, ids("c"))]


def test_a_shared_resource_that_died_explains_what_was_refused_afterwards():
    tests = [a_test("a", "gw0", 0.0), a_test("b", "gw1", 0.0), a_test("c", "gw1", 0.3, error=REFUSED)]
    died = ResourceEvent(name="ledger", event="died", at=0.2, tail="page 9 is full")

    [finding] = triage(a_record(tests, resources=(died,))).findings

    assert finding.cause is Cause.INFRASTRUCTURE_GONE
    assert finding.resource == "ledger"
    assert "page 9 is full" in finding.evidence[0].text


def test_what_nobody_answers_any_more_is_gone_without_a_culprit():
    tests = [a_test(f"a{number}", f"gw{number % 2}", 0.1 * number) for number in range(4)]
    tests += [a_test(f"b{number}", f"gw{number % 2}", 1 + 0.1 * number, error=REFUSED) for number in range(4)]
    activities = [a_connection(run.worker, run.start + 0.01, run.test.partition("::")[2]) for run in tests]

    [finding] = triage(a_record(tests, activities=tuple(activities))).findings

    assert finding.cause is Cause.INFRASTRUCTURE_GONE
    assert set(finding.tests) == ids("b0", "b1", "b2", "b3")


def test_what_is_set_on_one_worker_only_is_uninitialised_on_the_others():
    error = replace(WRONG, kind="AttributeError", none=True, globals={"app.client": "None"})
    tests = [a_test("a", "gw0", 0.0), a_test("b", "gw1", 0.0, error=error), a_test("c", "gw2", 0.0, error=error)]
    kinds = [
        Globals(module="app", at=1.0, worker="gw0", names={"client": "Client"}),
        Globals(module="app", at=1.0, worker="gw1", names={"client": "None"}),
        Globals(module="app", at=1.0, worker="gw2", names={"client": "None"}),
    ]

    [finding] = triage(a_record(tests, globals=tuple(kinds))).findings

    assert finding.cause is Cause.UNINITIALISED
    assert "`app.client`" in finding.title
    assert set(finding.tests) == ids("b", "c")


@pytest.mark.parametrize(
    ("names", "empty", "named"),
    [
        ({"none": True}, "empty set", "client"),
        ({"none_names": ("thing",)}, "missing", "client"),
        ({"empty_names": ("path",)}, "empty set", "a_list"),
    ],
)
def test_of_two_variables_the_one_that_holds_what_the_error_tells_of_is_named(names, empty, named):
    error = replace(WRONG, kind="AttributeError", **names)
    tests = [a_test("a", "gw0", 0.0), a_test("b", "gw1", 0.0, error=error)]
    kinds = (
        Globals(module="app", at=1.0, worker="gw0", names={"a_list": "set of 2", "client": "Client"}),
        Globals(module="app", at=1.0, worker="gw1", names={"a_list": empty, "client": "None"}),
    )

    [finding] = triage(a_record(tests, globals=kinds)).findings

    assert f"`app.{named}`" in finding.title


def test_what_is_set_nowhere_is_no_matter_of_workers():
    error = replace(WRONG, kind="AttributeError", none=True, globals={"app.client": "None"})
    tests = [a_test("a", "gw0", 0.0, error=error), a_test("b", "gw1", 0.0, error=error)]

    assert [cause for cause, _ in named(a_record(tests))] == [Cause.DEFECT]


@pytest.mark.parametrize(("family", "host", "served"), [("inet6", "::1", "127.0.0.1"), ("inet", "127.0.0.1", "::1")])
def test_a_port_called_in_one_family_and_served_in_the_other(family, host, served):
    other = "inet6" if family == "inet" else "inet"
    tests = [a_test("a", "gw0", 0.0, error=WRONG), a_test("b", "gw0", 0.1)]
    activities = [
        an_activity("listen", "gw0", 0.0, "a", "setup", address_family=other, host=served, port=5000),
        a_connection("gw0", 0.05, "a", host=host, family=family),
    ]

    assert named(a_record(tests, activities=tuple(activities))) == [(Cause.ADDRESS_FAMILY, ids("a"))]


def test_two_workers_that_listen_at_one_port_clash():
    error = replace(WRONG, kind="OSError", errno=errno.EADDRINUSE)
    tests = [a_test("a", "gw0", 0.0), a_test("b", "gw1", 0.05, error=error)]
    activities = [
        an_activity("listen", "gw0", 0.01, "a", address_family="inet", host="127.0.0.1", port=5000),
        an_activity("listen", "gw1", 0.06, "b", address_family="inet", host="127.0.0.1", port=5000),
    ]

    assert named(a_record(tests, activities=tuple(activities))) == [(Cause.PORT_CLASH, ids("b"))]


def test_a_file_that_another_worker_removes_meanwhile_clashes():
    error = replace(WRONG, kind="OSError", errno=errno.ENOENT, address="/project/out/report")
    tests = [a_test("a", "gw0", 0.0), a_test("b", "gw1", 0.05, error=error)]
    activities = [
        an_activity("write", "gw1", 0.06, "b", path="/project/out/report"),
        an_activity("remove", "gw0", 0.09, "a", path="/project/out/report"),
    ]

    assert named(a_record(tests, activities=tuple(activities))) == [(Cause.FILE_CLASH, ids("b"))]


MISSING = replace(WRONG, kind="OSError", errno=errno.ENOENT, address="/project/out/report")
EXISTS = replace(MISSING, errno=errno.EEXIST)


@pytest.mark.parametrize(
    ("error", "own", "other"),
    [
        pytest.param(MISSING, "/project/out", ("mkdir", "/project/out"), id="both make the directory"),
        pytest.param(MISSING, "/project/out/report", ("write", "/project/out/report"), id="the other writes it"),
        pytest.param(MISSING, "/project/out/rep", ("remove", "/project/out/rep"), id="a name that begins alike"),
        pytest.param(EXISTS, "/project/out", ("mkdir", "/project/out"), id="it is there, in a directory of both"),
        pytest.param(EXISTS, "/project/out/report", ("remove", "/project/out/report"), id="the other removes it"),
    ],
)
def test_what_others_do_to_a_file_is_no_clash_unless_it_makes_this_error(error, own, other):
    kind, path = other
    tests = [a_test("a", "gw0", 0.0), a_test("b", "gw1", 0.05, error=error)]
    activities = (an_activity("write", "gw1", 0.06, "b", path=own), an_activity(kind, "gw0", 0.09, "a", path=path))

    assert named(a_record(tests, activities=activities)) == [(Cause.DEFECT, ids("b"))]


@pytest.mark.parametrize(
    ("error", "path", "kind"),
    [
        pytest.param(MISSING, "/project/out", "rename", id="a directory above goes"),
        pytest.param(EXISTS, "/project/out/report", "mkdir", id="it is made twice"),
    ],
)
def test_what_others_do_to_a_file_is_a_clash_where_it_makes_this_error(error, path, kind):
    tests = [a_test("a", "gw0", 0.0), a_test("b", "gw1", 0.05, error=error)]
    activities = (an_activity("mkdir", "gw1", 0.06, "b", path=path), an_activity(kind, "gw0", 0.09, "a", path=path))

    assert named(a_record(tests, activities=activities)) == [(Cause.FILE_CLASH, ids("b"))]


def test_what_is_refused_first_and_answers_later_was_not_ready():
    tests = [a_test("a", "main", 0.0, error=REFUSED), a_test("b", "main", 0.2), a_test("c", "main", 0.4)]
    activities = [a_connection("main", run.start + 0.01, run.test.partition("::")[2]) for run in tests]

    assert named(a_record(tests, activities=tuple(activities))) == [(Cause.NOT_READY, ids("a"))]


def test_a_global_that_an_earlier_test_left_changed_is_pollution():
    error = replace(WRONG, globals={"shop.factor": "int"})
    tests = [a_test("a", "main", 0.0), a_test("b", "main", 0.2, error=error)]
    change = an_activity("global", "main", 0.1, "a", "session", module="shop", name="factor", was="int", now="int")

    [finding] = triage(a_record(tests, activities=(change,))).findings

    assert (finding.cause, finding.polluter) == (Cause.POLLUTION, "test_it.py::a")


def a_change(test, at):
    return an_activity("global", "main", at, test, "session", module="shop", name="factor", was="int", now="int")


def test_all_failures_after_one_change_are_one_finding():
    error = replace(WRONG, globals={"shop.factor": "int"})
    tests = [a_test("a", "main", 0.0), a_test("b", "main", 0.2, error=error), a_test("c", "main", 0.4, error=error)]

    [finding] = triage(a_record(tests, activities=(a_change("a", 0.1),))).findings

    assert set(finding.tests) == ids("b", "c")


def test_a_thread_that_changes_a_global_in_later_tests_is_that_of_the_test_that_left_it():
    error = replace(WRONG, globals={"shop.factor": "int"})
    tests = [a_test("a", "main", 0.0), a_test("b", "main", 0.2), a_test("c", "main", 0.4, error=error)]
    thread = Leak(kind="threads", description="pump", at=0.1, test="test_it.py::a", worker="main")

    [finding] = triage(a_record(tests, activities=(a_change("a", 0.1), a_change("b", 0.3)), leaks=(thread,))).findings

    assert finding.polluter == "test_it.py::a"


@pytest.mark.parametrize(
    ("activities", "leaks"),
    [
        pytest.param(
            (an_activity("environ", "main", 0.1, "a", "session", name="MODE", was="unset", now="set"),),
            (),
            id="variable",
        ),
        pytest.param(
            (), (Leak(kind="files", description="x", at=0.1, test="test_it.py::a", worker="main"),), id="leak"
        ),
    ],
)
def test_a_failure_after_a_test_that_left_something_is_not_presumed_to_be_a_defect(activities, leaks):
    tests = [a_test("a", "main", 0.0), a_test("b", "main", 0.2, error=WRONG)]

    told = triage(a_record(tests, activities=activities, leaks=leaks))

    assert (told.findings, set(told.unexplained)) == ((), ids("b"))


def test_what_a_test_was_seen_leaving_behind_is_its_own_pollution():
    error = replace(WRONG, phase="teardown", kind="LeakFailure")
    leak = Leak(kind="threads", description="pump", at=0.3, source="shop.py:4", test="test_it.py::a", worker="gw1")
    other = replace(leak, worker="gw0", description="another one")

    [finding] = triage(a_record([a_test("a", "gw1", 0.0, error=error)], leaks=(leak, other))).findings

    assert (finding.cause, finding.polluter) == (Cause.POLLUTION, "test_it.py::a")
    assert [(one.text, one.source) for one in finding.evidence] == [("threads: pump", "shop.py:4")]


@pytest.mark.parametrize(
    "error",
    [
        replace(WRONG, kind="TimeoutError", kinds=("TimeoutError",)),
        replace(WRONG, kind="Failed", timed_out=True),
    ],
)
def test_errors_that_are_time_outs_by_class_or_by_pytest_timeout(error):
    tests = [a_test("a", "main", 0.0), a_test("b", "main", 0.2, error=error, took=1.0)]

    assert named(a_record(tests)) == [(Cause.TIME_OUT, ids("b"))]


def test_a_run_without_failures_accuses_nobody(torn_down):
    fine = tuple(replace(run, outcome=Outcome.PASSED, error=None) for run in torn_down.tests)

    found = triage(replace(torn_down, tests=fine))

    assert (found.findings, found.unexplained) == ((), ())


def probes(*answers):
    """One a second from 2.0 on."""
    return tuple(
        ResourceEvent(name="store", event="probe", at=2.0 + number, ok=ok) for number, ok in enumerate(answers)
    )


@pytest.mark.parametrize(
    ("resources", "cause"),
    [
        (probes(False, False), Cause.INFRASTRUCTURE_GONE),
        (probes(True, False, False), Cause.INFRASTRUCTURE_GONE),
        (probes(False, True, False, False), Cause.INFRASTRUCTURE_GONE),
        ((replace(probes(False)[0], suspended=(7,)),), Cause.INFRASTRUCTURE_GONE),
        (probes(True, True), Cause.TIME_OUT),
        (probes(False), Cause.TIME_OUT),
        (probes(False, True), Cause.TIME_OUT),
        (probes(False, False, True), Cause.TIME_OUT),
    ],
)
def test_tests_that_time_out_are_the_resource_s_fault_if_it_answers_nobody_any_more(resources, cause):
    late = Error(phase="call", kind="ReadTimeout", kinds=("ReadTimeout",))
    tests = [a_test("a", "gw0", 0.5), *(a_test(f"t{number}", "gw0", number, error=late) for number in range(2, 6))]

    (finding,) = triage(a_record(tests, resources=resources), patterns=BUILT_IN).findings

    assert finding.cause is cause


def test_failures_of_the_same_looks_and_words_are_one_finding():
    taken = replace(WRONG, kind="AlreadyExists", kinds=("AlreadyExists",), message='namespaces "shop" already exists')
    taken = replace(taken, frames=(Frame(file="suite.py", line=9, function="namespace"),))
    other = replace(taken, frames=(Frame(file="other.py", line=1, function="start"),))
    tests = [
        a_test("a", "gw0", 0.0, took=0.5),
        a_test("b", "gw1", 0.1, error=taken),
        a_test("c", "gw1", 2.0, error=taken),
        a_test("d", "gw1", 3.0, error=other),
    ]
    activities = (a_connection("gw0", 0.05, "a"), a_connection("gw1", 0.15, "b"))
    own = Pattern(
        name="namespace-exists", cause=Cause.NAME_CLASH, title="a namespace is there already", text=re.compile("exists")
    )

    findings = triage(a_record(tests, activities=activities), patterns=(own,)).findings

    assert [(finding.cause, set(finding.tests)) for finding in findings] == [
        (Cause.NAME_CLASH, ids("b", "c")),
        (Cause.NAME_CLASH, ids("d")),
    ]


def test_failures_that_look_alike_are_one_group():
    here, there = Frame(file="app.py", line=1, function="f"), Frame(file="app.py", line=2, function="f")
    errors = [replace(WRONG, frames=(frame,)) for frame in (here, here, there)]
    tests = [a_test(f"t{number}", "main", number, error=error) for number, error in enumerate(errors)]

    assert [len(group) for group in groups(RunView(a_record(tests)).failures)] == [2, 1]


def test_a_shared_resource_that_did_not_start_is_named_although_no_test_ran():
    failed = ResourceEvent(name="store", event="failed", at=2.0, error="OSError: no space left", tail="store.log: full")

    (finding,) = triage(a_record([], resources=(failed,))).findings

    assert finding.cause is Cause.INFRASTRUCTURE_GONE
    assert (finding.resource, finding.tests) == ("store", ())
    assert "OSError: no space left" in finding.title
    assert [one.text for one in finding.evidence] == ["OSError: no space left", "its log: store.log: full"]


def test_a_test_that_ends_its_worker_is_named():
    crash = Error(phase="call", kind="WorkerCrash", kinds=("WorkerCrash",))
    tests = [a_test("test_a", "gw0", 1.0), a_test("test_b", "gw1", 1.0, error=crash), a_test("test_c", "gw0", 2.0)]

    (finding,) = triage(a_record(tests)).findings

    assert finding.title == "test_it.py::test_b ended its worker gw1"
    assert finding.tests == ("test_it.py::test_b",)


@pytest.mark.parametrize(
    ("number", "sent", "cause"),
    [
        pytest.param(9, None, Cause.INFRASTRUCTURE_GONE, id="killed"),
        pytest.param(15, None, Cause.INFRASTRUCTURE_GONE, id="terminated"),
        pytest.param(9, 77, Cause.DEFECT, id="killed by the test"),
        pytest.param(11, None, Cause.DEFECT, id="fault in native code"),
    ],
)
def test_a_worker_that_somebody_else_killed_is_no_defect_of_its_test(number, sent, cause):
    crash = Error(phase="call", kind="WorkerCrash", kinds=("WorkerCrash",))
    end = WorkerEvent(worker="gw1", event="crashed", at=1.1, pid=77, signal=number)
    tests = [a_test("test_a", "gw0", 1.0), a_test("test_b", "gw1", 1.0, error=crash)]
    kills = (an_activity("kill", "gw1", 1.05, "test_b", pid=sent, signal=number),) if sent else ()

    (finding,) = triage(a_record(tests, workers=(end,), activities=kills)).findings

    assert finding.cause is cause
    assert f"by signal {number}" in finding.title


def test_a_shared_process_that_a_worker_ended_is_torn_down_early_and_not_gone_by_itself():
    died = ResourceEvent(name="store", event="died", at=2.0, pid=77, error="store ended with signal 9")
    tests = [a_test("test_a", "gw0", 1.0), a_test("test_b", "gw1", 1.5), a_test("test_c", "gw0", 2.5, error=REFUSED)]
    kill = an_activity("kill", "gw1", 1.9, phase="session", pid=77, signal=9)

    (finding,) = triage(a_record(tests, resources=(died,), activities=(kill,))).findings

    assert finding.cause is Cause.EARLY_TEARDOWN
    assert finding.title == "gw1 ended store while other workers still had tests to run"
    assert finding.tests == ("test_it.py::test_c",)
