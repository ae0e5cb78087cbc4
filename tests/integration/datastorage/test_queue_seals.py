"""With a signing key, only what a DataStorage of that ledger has put into the queue reaches the ledger."""

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import msgspec
import pytest
import valkey.asyncio

from kubernaut.api.ledger import notes
from kubernaut.datastorage.config import LedgerConfig
from kubernaut.datastorage.dead_letter import messages
from kubernaut.datastorage.dead_letter.config import DeadLetterConfig
from kubernaut.datastorage.dead_letter.operator import DeadLetterOperator
from kubernaut.datastorage.dead_letter.seals import NOT_SEALED, Seals
from kubernaut.datastorage.dead_letter.stream import DEAD_LETTERS, QUEUE, open_stream
from kubernaut.datastorage.service import open_service
from kubernaut.datastorage.signing_keys import SigningKeys
from support.datastorage import config_for, ledger_of
from support.eventually import eventually
from support.ledger_events import an_entry

from .test_dead_letter_queue import queue_at


@pytest.fixture
def queue(valkey_url: str) -> DeadLetterConfig:
    return queue_at(valkey_url, require_durability=False)


@pytest.fixture
async def stream(valkey_url: str) -> AsyncIterator[valkey.asyncio.Valkey]:
    client = valkey.asyncio.from_url(valkey_url)
    yield client
    await client.aclose()


def a_key_file(directory: Path, *signers: notes.Signer) -> Path:
    path = directory / f"{'-'.join(str(signer.verifier.key_id) for signer in signers)}.key"
    path.write_text("".join(f"{signer.skey}\n" for signer in signers))
    return path


@asynccontextmanager
async def datastorage(database: str, queue: DeadLetterConfig, key: Path) -> AsyncIterator[httpx2.AsyncClient]:
    ledger = LedgerConfig(origin="test.local/ledger", key_file=key)
    config = dataclasses.replace(config_for(database), dead_letter_queue=queue, ledger=ledger)
    async with open_service(config) as server, httpx2.AsyncClient(base_url=server.url) as client:
        yield client


def a_message(**event: object) -> messages.Message:
    return messages.of(an_entry(**event), datetime.now(UTC))


async def settled(stream: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The dead letters once the queue is empty."""

    async def is_empty() -> bool:
        return not await stream.xlen(QUEUE)

    await eventually(is_empty)
    letters: list[tuple[bytes, dict[bytes, bytes]]] = await stream.xrange(DEAD_LETTERS)
    return letters


async def test_message_of_somebody_else_becomes_a_dead_letter(
    own_directory: Path, database: str, queue: DeadLetterConfig, stream: Any, sql: asyncpg.Connection
):
    ours, stranger = notes.new_signer("test.local/ledger"), notes.new_signer("test.local/ledger")
    key = a_key_file(own_directory, ours)
    foreign = Seals(SigningKeys(a_key_file(own_directory, stranger)))
    sealed = Seals(SigningKeys(key)).seal(a_message())
    forged = [
        a_message(),
        foreign.seal(a_message()),
        a_message().sealed(sealed.seals),  # of another event
        msgspec.structs.replace(sealed, received_at=datetime(2026, 1, 1, tzinfo=UTC)),
        a_message().sealed(["é", "0" * 64]),
    ]
    async with datastorage(database, queue, key):
        for message in [*forged, sealed]:
            await stream.xadd(QUEUE, {"message": messages.encode(message)})
        letters = await settled(stream)

    assert [str(row["event_id"]) for row in await ledger_of(sql)] == [str(sealed.payload.event_id)]
    assert [fields[b"reason"].decode() for _, fields in letters] == [f"invalid message: {NOT_SEALED}"] * len(forged)


async def test_operator_with_the_configuration_vouches_for_a_letter(
    own_directory: Path, database: str, queue: DeadLetterConfig, stream: Any, sql: asyncpg.Connection
):
    key = a_key_file(own_directory, notes.new_signer("test.local/ledger"))
    message = a_message()
    async with datastorage(database, queue, key):
        await stream.xadd(QUEUE, {"message": messages.encode(message)})
        assert len(await settled(stream)) == 1
        async with open_stream(queue) as opened:
            operator = DeadLetterOperator(
                stream=opened,
                database=config_for(database).database,
                seals=Seals(SigningKeys(key)),
                actor_id="alice",
            )
            (letter,) = await opened.dead_letters()
            assert await operator.replay([letter]) == [True]
        assert await settled(stream) == []

    assert str(message.payload.event_id) in [str(row["event_id"]) for row in await ledger_of(sql)]


async def test_message_is_known_while_keys_are_rotated(
    own_directory: Path, database: str, queue: DeadLetterConfig, stream: Any, sql: asyncpg.Connection
):
    old, new = notes.new_signer("test.local/ledger"), notes.new_signer("test.local/ledger")
    by_old = Seals(SigningKeys(a_key_file(own_directory, old))).seal(a_message())
    by_both = Seals(SigningKeys(a_key_file(own_directory, old, new))).seal(a_message())
    for key in (a_key_file(own_directory, old, new), a_key_file(own_directory, new)):
        async with datastorage(database, queue, key):
            for message in (by_old, by_both):
                await stream.xadd(QUEUE, {"message": messages.encode(message)})
            letters = await settled(stream)

    stored = {str(row["event_id"]) for row in await ledger_of(sql)}
    assert stored == {str(message.payload.event_id) for message in (by_old, by_both)}
    assert [messages.decode(fields[b"message"]).payload for _, fields in letters] == [by_old.payload]
