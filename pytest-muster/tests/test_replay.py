"""A recorded schedule is read, turned into a command, and repeated."""

import sys
from pathlib import Path

import pytest

from pytest_muster import cli
from pytest_muster.records import reader
from pytest_muster.records.journal import Outcome
from pytest_muster.records.reader import RecordError
from pytest_muster.records.run_record import Collected, Header, RunRecord, Started, TestRun, WorkerEvent
from pytest_muster.schedule.replay import replay_command, schedule_of_record


def a_test(test, worker, *, at, slot=1, serial=False):
    return TestRun(
        test=test, worker=worker, slot=slot, order=int(at), outcome=Outcome.PASSED, serial=serial, start=at, stop=at + 1
    )


def a_record(*tests, argv=(), seed=None, dist="load", workers=2, **fields):
    header = Header(run="r1", argv=argv, seed=seed, dist=dist, workers=workers, rootdir="/p", cwd="/p")
    return RunRecord(id="r1", directory=Path("/p/.muster/runs/r1"), header=header, tests=tests, **fields)


TWO_WORKERS = (
    a_test("a", "gw0", at=1),
    a_test("b", "gw1", at=1, slot=2),
    a_test("c", "gw1", at=2, slot=2),
    a_test("d", "gw0", at=3),
    a_test("s", "gw0", at=5, serial=True),
)


def test_each_slot_gets_its_tests_in_their_order_and_serial_ones_apart():
    found = schedule_of_record(a_record(*reversed(TWO_WORKERS)))

    assert found.queues == {1: ("a", "d"), 2: ("b", "c")}
    assert (found.serial, found.host) == (("s",), 1)
    assert found.notes == ()


def test_until_a_test_means_what_had_begun_by_then():
    found = schedule_of_record(a_record(*TWO_WORKERS), until="c")

    assert found.tests == {"a", "b", "c"}


def test_one_worker_alone():
    assert schedule_of_record(a_record(*TWO_WORKERS), worker="gw1").queues == {2: ("b", "c")}


def test_successors_in_a_slot_follow_each_other_and_the_test_they_died_of_is_there():
    record = a_record(
        a_test("a", "gw0", at=1),
        a_test("c", "gw2", at=9),
        started=(Started(test="b", worker="gw0", order=1, at=3.0),),
        workers=(WorkerEvent(worker="gw0", slot=1, event="started", at=0.0),),
    )

    found = schedule_of_record(record)

    assert found.queues == {1: ("a", "b", "c")}
    assert found.notes == ("slot 1 ran gw0, then gw2: one worker gets the tests of all of them",)


def test_a_serial_test_that_never_ended_is_serial():
    record = a_record(
        started=(Started(test="s", worker="gw0", order=0, at=3.0),), collected=(Collected(at=1.0, serial=("s",)),)
    )

    assert schedule_of_record(record).serial == ("s",)


@pytest.mark.parametrize(
    ("options", "says"),
    [({"until": "x"}, "did not run 'x'"), ({"worker": "gw7"}, "no worker 'gw7'; it has gw0, gw1")],
)
def test_what_the_record_does_not_know_is_said(options, says):
    with pytest.raises(RecordError, match=says):
        schedule_of_record(a_record(*TWO_WORKERS), **options)


def test_the_command_keeps_the_arguments_but_for_workers_and_selection_by_state():
    record = a_record(
        argv=("-n", "auto", "tests", "-k", "fast", "--dist=load", "-n4", "--lf", "-x"), seed=None, workers=3
    )

    assert replay_command(record, until="a::b", extra=["-s"]) == [
        *(sys.executable, "-m", "pytest", "tests", "-k", "fast", "-x", "-n", "3", "--dist", "load"),
        *("--muster-replay=/p/.muster/runs/r1", "--muster-until=a::b", "-s"),
    ]


def test_the_command_repeats_the_seed_of_a_run_in_one_process():
    composed = replay_command(a_record(seed=42, dist="no", workers=1), until=None, extra=[])

    assert composed[3:6] == ["-n", "0", "--randomly-seed=42"]


def test_a_run_is_repeated_exactly_and_names_what_is_gone(nested, monkeypatch, capfd):
    suite = """
        import time, pytest

        @pytest.mark.parametrize("number", range(12))
        def test_it(number):
            time.sleep(0.02 * (number % 3))

        def test_gone():
            pass

        @pytest.mark.serial
        def test_alone():
            pass
    """
    nested.write("test_it.py", suite)
    nested.run("-n", "2", "-p", "no:randomly", "-p", "no:asyncio")
    nested.write("test_it.py", suite.replace("test_gone", "test_new"))
    monkeypatch.chdir(nested.directory)

    code = cli.main(["replay", "--", "-v"])

    out = capfd.readouterr().out
    newest, before = reversed([reader.load(run) for run in reader.runs(reader.home())])
    assert code == 0, out
    assert "muster: test_it.py::test_gone does not exist any more, and is left out" in out
    again, first = schedule_of_record(newest), schedule_of_record(before)
    without = {slot: tuple(test for test in queue if "gone" not in test) for slot, queue in first.queues.items()}
    assert (again.queues, again.serial) == ({slot: queue for slot, queue in without.items() if queue}, first.serial)


def test_another_number_of_workers_is_refused(nested):
    nested.write(
        "test_it.py", "import time\n\n\ndef test_a():\n    time.sleep(0.3)\n\n\ndef test_b():\n    time.sleep(0.3)\n"
    )
    nested.run("-n", "2")

    done = nested.run("-n", "1", "--muster-replay=latest")

    assert done.code == pytest.ExitCode.USAGE_ERROR
    assert "had 2 workers, this one has 1: add -n 2, or -n 0 and --muster-only-worker=WORKER" in done.out
