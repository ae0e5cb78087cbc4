"""A record is read as it is meant, also if it was cut off, and a run is found by what a user types."""

import json
import os

import pytest

from pytest_muster.records.journal import SCHEMA, Outcome
from pytest_muster.records.reader import RecordError, find, home, load, newest


def a_record(root, id, *lines, schema=SCHEMA):
    directory = root / ".muster" / "runs" / id
    directory.mkdir(parents=True)
    head = {
        "type": "run",
        "at": 1.0,
        "run": id,
        "schema": schema,
        "muster": "9.9",
        "argv": ["-q"],
        "rootdir": str(root),
    }
    (directory / "record.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (head, *lines)))
    return directory


def a_test_line(name="a.py::test_a", **fields):
    return {
        "type": "test",
        "at": 2.0,
        "test": name,
        "worker": "gw0",
        "outcome": "passed",
        "start": 1,
        "stop": 2,
        **fields,
    }


def test_lines_become_values(tmp_path):
    error = {"kind": "OSError", "errno": 111, "frames": [{"file": "a.py", "line": 3, "function": "f", "code": "f()"}]}
    phases = {"call": {"start": 1.0, "took": 0.5, "outcome": "failed"}}
    directory = a_record(
        tmp_path,
        "20260101T000000Z-aaaaaa",
        a_test_line(outcome="failed", error=error, phases=phases, leases=["port 1"], something="new"),
        {
            "type": "activity",
            "at": 3.0,
            "kind": "connect",
            "worker": "gw0",
            "test": None,
            "host": "127.0.0.1",
            "port": 1,
        },
        {"type": "resource", "at": 4.0, "name": "shop", "event": "ready", "ok": True},
        {"type": "a type of a later version", "at": 5.0},
        {"type": "end", "at": 6.0, "exit": 1, "stop_reason": "complete", "counts": {"failed": 1}, "wall": 5.0},
    )

    record = load(directory)

    (test,) = record.failures
    assert test.outcome is Outcome.FAILED
    assert test.error.frames[0].source == "a.py:3"
    assert test.phases["call"].took == 0.5
    assert test.leases == ("port 1",)
    assert record.activities[0].details == {"host": "127.0.0.1", "port": 1}
    assert record.activities[0].phase == "session"
    assert record.resources[0].ok is True
    assert record.end.counts == {"failed": 1}
    assert record.tests_of("gw0") == (test,)


def test_a_record_that_was_cut_off_is_read_up_to_there(tmp_path):
    directory = a_record(tmp_path, "20260101T000000Z-aaaaaa", a_test_line())
    with (directory / "record.jsonl").open("a") as file:
        file.write('{"type":"test","at":3.0,"test":"a.py::te')
    (directory / "workers").mkdir()
    (directory / "workers" / "gw0.jsonl").write_text(
        '{"type":"started","at":1.5,"test":"a.py::test_b","worker":"gw0","order":1}\n\x00\x00'
    )

    record = load(directory)

    assert [test.test for test in record.tests] == ["a.py::test_a"]
    assert [begun.test for begun in record.unfinished] == ["a.py::test_b"]
    assert record.end is None


def test_a_line_without_what_matters_is_left_out(tmp_path):
    directory = a_record(tmp_path, "20260101T000000Z-aaaaaa", {"type": "test", "at": 1.0}, a_test_line(outcome="odd"))

    assert load(directory).tests == ()


def test_an_empty_record_is_a_record(tmp_path):
    directory = tmp_path / "run"
    directory.mkdir()
    (directory / "record.jsonl").touch()

    assert load(directory).id == "run"


def test_a_newer_schema_is_refused_with_a_sentence(tmp_path):
    directory = a_record(tmp_path, "20260101T000000Z-aaaaaa", schema=SCHEMA + 1)

    with pytest.raises(RecordError, match=f"schema {SCHEMA + 1}, written by pytest-muster 9.9.*use the newer"):
        load(directory)


def test_workers_can_be_left_out(tmp_path):
    directory = a_record(tmp_path, "20260101T000000Z-aaaaaa", a_test_line())
    (directory / "workers").mkdir()
    (directory / "workers" / "gw0.jsonl").write_text('{"type":"activity","at":1,"kind":"kill","worker":"gw0"}\n')

    assert len(load(directory).activities) == 1
    assert load(directory, workers=False).activities == ()


@pytest.fixture
def three(tmp_path):
    """Three runs, of which the last two began in one second."""
    ids = ["20260101T000000Z-ffffff", "20260102T000000Z-bbbbbb", "20260102T000000Z-aaaaaa"]
    for order, id in enumerate(ids):
        directory = a_record(tmp_path, id)
        os.utime(directory / "record.jsonl", (order, order))
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (None, "20260102T000000Z-aaaaaa"),
        ("latest", "20260102T000000Z-aaaaaa"),
        ("latest~1", "20260102T000000Z-bbbbbb"),
        ("latest~2", "20260101T000000Z-ffffff"),
        ("20260101", "20260101T000000Z-ffffff"),
        ("20260102T000000Z-b", "20260102T000000Z-bbbbbb"),
    ],
)
def test_a_run_is_found_by_what_is_typed(three, typed, meant):
    deep = three / "tests" / "unit"
    deep.mkdir(parents=True)

    assert find(typed, start=deep).name == meant


def test_a_run_is_found_by_its_path(three):
    directory = newest(home(three))

    assert find(str(directory)) == directory
    assert find(str(directory / "record.jsonl")) == directory


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("20260102", "beginning of several runs.*aaaaaa"),
        ("nonsense", "is no run in .*known: .*ffffff"),
        ("latest~3", "there are only 3 runs"),
    ],
)
def test_a_run_that_is_not_there_is_a_problem_that_helps(three, typed, says):
    with pytest.raises(RecordError, match=says):
        find(typed, start=three)


def test_no_records_at_all_is_a_problem_that_helps(tmp_path):
    with pytest.raises(RecordError, match="run pytest with pytest-muster first"):
        find(start=tmp_path)

    (tmp_path / ".muster" / "runs").mkdir(parents=True)

    with pytest.raises(RecordError, match="holds no run"):
        find(start=tmp_path)
