"""`kubernaut audit spool` on real directories, also while they are in use."""

import json
from datetime import UTC, datetime
from uuid import UUID, uuid4

import msgspec
import pytest
import yaml

from kubernaut.audit.config import SpoolConfig
from kubernaut.audit.spool import open_spool
from kubernaut.audit.spool_file import EncodedEvent
from kubernaut.audit.spool_survey import segment_path
from kubernaut.cli.app import run
from support.audit import an_event
from support.logs import capture_logs


def an_entry(number: int, **changes) -> EncodedEvent:
    event = msgspec.structs.replace(an_event(number, event_id=UUID(int=number + 1)), **changes)
    return EncodedEvent(event.event_id.bytes, msgspec.json.encode(event))


@pytest.fixture
async def directory(tmp_path):
    """Event 0 is in quarantine, 1 to 4 wait."""
    async with open_spool(SpoolConfig(directory=tmp_path / "spool")) as spool:
        spool.append([an_entry(number) for number in range(5)])
        await spool.committed()
        (first,) = await spool.head(1, 1)
        spool.quarantine(first, "no such \x1b[31mparent\nat all")
    return tmp_path / "spool"


def spool_command(capsys, *arguments):
    with capture_logs():  # the program sends them to standard error
        code = run(["audit", "spool", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_status_counts(directory, capsys):
    code, out, _ = spool_command(capsys, "status", "--spool", directory, "-o", "json")

    found = json.loads(out)
    assert code == 1  # something is in quarantine
    assert (found["waiting"], found["quarantined"], found["unreadable"], found["process"]) == (4, 1, 0, None)
    assert datetime.fromisoformat(found["oldest"]).tzinfo == UTC


async def test_status_list_and_export_work_while_a_service_runs(directory, capsys):
    async with open_spool(SpoolConfig(directory=directory)) as spool:
        spool.append([an_entry(9)])
        await spool.committed()

        status = spool_command(capsys, "status", "--spool", directory)
        listed = spool_command(capsys, "list", "--spool", directory, "-o", "yaml")
        exported = spool_command(capsys, "export", "--spool", directory)

    assert "process" in status[1]
    assert [entry["state"] for entry in yaml.safe_load(listed[1])] == ["waiting"] * 5 + ["quarantined"]
    lines = [json.loads(line) for line in exported[1].splitlines()]
    assert [line["event"]["event_data"]["number"] for line in lines] == [1, 2, 3, 4, 9, 0]


def test_text_from_outside_stays_in_its_line(directory, capsys):
    _, out, _ = spool_command(capsys, "list", "--quarantined", "--spool", directory)

    assert len(out.splitlines()) == 2
    assert "\x1b" not in out
    assert r"no such \x1b[31mparent\nat all" in out


async def test_replay_puts_events_behind_those_that_wait(directory, capsys):
    code, out, _ = spool_command(capsys, "replay", "--all", "--spool", directory)

    assert (code, out) == (0, "1 events wait for the next start; 0 are in quarantine\n")
    async with open_spool(SpoolConfig(directory=directory)) as spool:
        numbers = [json.loads(event.body)["event_data"]["number"] for event in await spool.head(10, 10**6)]
        assert (numbers, spool.quarantined, spool.unreadable) == ([1, 2, 3, 4, 0], 0, 0)


def test_replay_of_one_event_by_its_id(directory, capsys):
    code, _, err = spool_command(capsys, "replay", UUID(int=1), uuid4(), "--spool", directory)

    assert code == 1
    assert "is not in quarantine" in err


@pytest.mark.parametrize("arguments", [[], ["--all", str(UUID(int=1))], ["no-id"]])
def test_replay_wants_events_or_all(directory, capsys, arguments):
    code, _, err = spool_command(capsys, "replay", *arguments, "--spool", directory)

    assert code == 2
    assert "try:" in err


@pytest.mark.parametrize("command", [["replay", "--all"], ["repair"]])
async def test_what_writes_says_who_holds_the_lock(directory, capsys, command):
    async with open_spool(SpoolConfig(directory=directory)):
        code, _, err = spool_command(capsys, *command, "--spool", directory)

    assert code == 3
    assert "is the spool of running process" in err


@pytest.mark.parametrize("command", [["status"], ["list"], ["export"], ["replay", "--all"], ["repair"]])
def test_a_directory_that_is_no_spool_is_named_and_left_alone(tmp_path, capsys, command):
    code, _, err = spool_command(capsys, *command, "--spool", tmp_path / "nothing")

    assert code == 3
    assert f"{tmp_path / 'nothing'} is no spool" in err
    assert not (tmp_path / "nothing").exists()


def test_repair_says_what_cannot_be_read(directory, capsys):
    path = segment_path(directory, 1)
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)

    before = json.loads(spool_command(capsys, "status", "--spool", directory, "-o", "json")[1])
    code, out, err = spool_command(capsys, "repair", "--spool", directory)
    again = spool_command(capsys, "repair", "--spool", directory)

    assert (before["waiting"], before["unreadable"]) == (3, 1)
    assert (code, out) == (1, "3 events wait, 1 are in quarantine, 1 cannot be read\n")
    assert "moved aside" in err
    assert again[0] == 0
