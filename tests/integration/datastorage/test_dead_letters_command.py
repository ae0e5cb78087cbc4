"""`kubernaut audit dlq`: dead letters of a real Valkey, listed, replayed and dropped."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import valkey.asyncio
import yaml

from kubernaut.api.events import VerifyRequest
from kubernaut.datastorage.dead_letter import messages
from kubernaut.datastorage.dead_letter.stream import DEAD_LETTERS, QUEUE
from kubernaut.datastorage.store import Store
from support.ledger_events import an_entry

KUBERNAUT = (sys.executable, "-c", "from kubernaut.cli import main; main()")


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Command:
    config: Path

    async def __call__(self, *arguments: str) -> Result:
        process = await asyncio.create_subprocess_exec(
            *KUBERNAUT,
            *("audit", "dlq", *arguments, "--config", str(self.config)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return Result(process.returncode or 0, out.decode(), err.decode())


@pytest.fixture
async def stream(valkey_url: str) -> AsyncIterator[valkey.asyncio.Valkey]:
    client = valkey.asyncio.from_url(valkey_url)
    yield client
    await client.aclose()


@pytest.fixture
def dlq(valkey_url: str, database: str, store: Store, tmp_path: Path) -> Command:
    """The command with a database that a DataStorage has been started on."""
    parts = urlsplit(valkey_url)
    queue = {"host": parts.hostname, "port": parts.port, "password": parts.password, "database": int(parts.path[1:])}
    config = tmp_path / "datastorage.yaml"
    postgresql = urlsplit(database)
    config.write_text(
        yaml.safe_dump(
            {
                "deadLetterQueue": queue,
                "database": {
                    "host": postgresql.hostname,
                    "port": postgresql.port,
                    "user": postgresql.username,
                    "password": postgresql.password,
                    "name": postgresql.path[1:],
                },
            }
        )
    )
    return Command(config)


async def a_dead_letter(stream: Any, reason: str = "parent event does not exist", **event: object) -> str:
    message = messages.encode(messages.of(an_entry(**event), datetime.now(UTC)))
    fields = {"message": message, "original_id": "1-0", "moved_at": "2026-11-22T20:00:00+00:00", "reason": reason}
    id_: bytes = await stream.xadd(DEAD_LETTERS, fields)
    return id_.decode()


async def test_list_shows_each_with_its_reason(stream: Any, dlq: Command):
    first = await a_dead_letter(stream, correlation_id="rr-7")
    await stream.xadd(DEAD_LETTERS, {"message": b"\xff\x1b[2J\nrr-8", "reason": b"invalid\nmessage \x1b[31m"})

    listed = await dlq("list")
    as_json = await dlq("list", "-o", "json")

    assert listed.code == 0, listed.err
    lines = listed.out.splitlines()
    assert len(lines) == 3
    assert (first in lines[1], "rr-7" in lines[1], "parent event does not exist" in lines[1]) == (True, True, True)
    assert "\x1b" not in listed.out
    assert "2 dead letters; 0 events wait" in listed.err
    letters = json.loads(as_json.out)
    assert (letters[0]["id"], letters[0]["correlation_id"]) == (first, "rr-7")


async def test_replay_puts_back_into_the_queue(stream: Any, dlq: Command):
    first, second = await a_dead_letter(stream), await a_dead_letter(stream)

    replayed = await dlq("replay", first, "9-9", "junk")

    assert (replayed.code, replayed.out) == (1, f"replayed {first}\n")
    assert "no dead letter '9-9'" in replayed.err
    assert "no dead letter 'junk'" in replayed.err
    assert await stream.xlen(QUEUE) == 1
    assert [id_.decode() for id_, _ in await stream.xrange(DEAD_LETTERS)] == [second]


async def test_drop_deletes_and_prints_what_it_deletes(stream: Any, dlq: Command):
    await a_dead_letter(stream, correlation_id="rr-9")

    dropped = await dlq("drop", "--all")

    assert (dropped.code, "rr-9" in dropped.out) == (0, True), dropped
    assert await stream.xlen(DEAD_LETTERS) == 0


@pytest.mark.parametrize(("step", "type"), [("drop", "dropped"), ("replay", "replayed")])
async def test_what_an_operator_does_is_in_the_ledger(
    stream: Any, dlq: Command, store: Store, sql: asyncpg.Connection, step: str, type: str
):
    first = await a_dead_letter(stream, correlation_id="rr-9")
    junk: bytes = await stream.xadd(DEAD_LETTERS, {"message": b"\xff\x00", "reason": b"invalid\x00"})

    assert (await dlq(step, first, "9-9", junk.decode(), "--as", "alice")).code == 1

    row = await sql.fetchrow("SELECT * FROM audit_events WHERE event_type = $1", f"datastorage.dead_letters.{type}")
    assert (row["actor_type"], row["actor_id"]) == ("user", "alice")
    data = json.loads(row["event_data"])
    assert [(letter["id"], letter.get("correlation_id")) for letter in data["letters"]] == [
        (first, "rr-9"),
        (junk.decode(), None),
    ]
    assert (await store.read.verify(VerifyRequest())).is_valid


async def test_nothing_is_dropped_while_it_cannot_be_recorded(stream: Any, dlq: Command):
    letter = await a_dead_letter(stream)
    config = yaml.safe_load(dlq.config.read_text())
    config["database"]["port"] = 1
    dlq.config.write_text(yaml.safe_dump(config))

    assert (await dlq("drop", letter)).code == 3

    assert await stream.xlen(DEAD_LETTERS) == 1


@pytest.mark.parametrize("arguments", [("drop",), ("replay", "1-0", "--all"), ("list", "--limit", "0")])
async def test_wrong_usage_is_exit_code_2(dlq: Command, arguments: tuple[str, ...]):
    assert (await dlq(*arguments)).code == 2


async def test_queue_that_is_not_configured_is_exit_code_2(tmp_path: Path):
    config = tmp_path / "empty.yaml"
    config.write_text("")

    result = await Command(config)("list")

    assert result.code == 2
    assert "deadLetterQueue.host is not set" in result.err
