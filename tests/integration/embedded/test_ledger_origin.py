"""The name of a stack's ledger: new ones have one of their own, and older ones keep theirs."""

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from kubernaut.api.ledger import notes, proofs, receipts
from kubernaut.audit import ClientConfig, DataStorageClient, open_client
from kubernaut.audit.errors import StoreError
from kubernaut.embedded import services
from kubernaut.embedded.directory import open_directory
from kubernaut.embedded.postgres import PostgresConfig, open_postgres
from kubernaut.embedded.preparation import prepare_database
from kubernaut.embedded.secret_files import ensure_signing_key
from kubernaut.embedded.services import DataStorageFiles, open_service
from kubernaut.embedded.stack import DATABASE, StackConfig, open_stack
from support.audit import an_event
from support.eventually import eventually

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(120)]

OLD_NAME = "kubernaut.local/ledger"


@asynccontextmanager
async def an_older_stack(data: Path) -> AsyncIterator[DataStorageClient]:
    """DataStorage as stacks had it before their ledgers got a name; its keys have another name than its checkpoints."""
    with open_directory(data) as directory:
        config = PostgresConfig(directory=directory.subdirectory("postgres"), env=os.environ)
        async with open_postgres(config) as server:
            await prepare_database(server, DATABASE)
            files = DataStorageFiles(
                database_password=directory.subdirectory("postgres") / "password",
                key=ensure_signing_key(directory.subdirectory("datastorage") / "ledger.key", OLD_NAME),
            )
            service = services.datastorage(server, DATABASE, None, files)
            async with (
                open_service(service, directory, os.environ) as running,
                open_client(ClientConfig(url=running.url)) as store,
            ):
                yield store


async def receipt_of(store: DataStorageClient, event_id: str) -> receipts.Receipt:
    """The receipt, once a checkpoint covers the event."""

    async def receipt() -> receipts.Receipt | None:
        with suppress(StoreError):
            return receipts.parse(await store.receipt(event_id))
        return None

    found = await eventually(receipt, timeout=30, interval=0.2)
    assert found is not None
    return found


def public_key(data: Path) -> notes.Verifier:
    """The key that `kubernaut audit keys show` prints."""
    (signer,) = notes.parse_signers((data / "datastorage" / "ledger.key").read_text())
    return signer.named(f"{signer.name}/0").verifier


async def test_a_new_ledger_has_a_name_of_its_own_under_which_its_key_is_shown(own_directory: Path):
    event = an_event()
    async with (
        open_stack(StackConfig(directory=own_directory / "data")) as stack,
        open_client(ClientConfig(url=stack.datastorage_url)) as store,
    ):
        await store.send([event])
        verified = receipts.verify(await receipt_of(store, str(event.event_id)), [public_key(stack.directory)])

    assert re.fullmatch(r"kubernaut\.local/ledger/[a-z0-9.-]+-[0-9a-f]{8}/0", verified.checkpoint.origin)


async def test_a_ledger_without_a_name_is_verified_as_before(own_directory: Path):
    data, first, second = own_directory / "data", an_event(1), an_event(2)
    async with an_older_stack(data) as store:
        await store.send([first])
        kept = await receipt_of(store, str(first.event_id))
    origin = str(proofs.parse(kept.proof).checkpoint).partition("\n")[0]

    for _ in range(2):
        async with (
            open_stack(StackConfig(directory=data)) as stack,
            open_client(ClientConfig(url=stack.datastorage_url)) as store,
        ):
            await store.send([second])
            later = await receipt_of(store, str(second.event_id))
            verification = await store.verify()

        assert verification.is_valid, verification
        assert [receipts.verify(each, [public_key(data)]).checkpoint.origin for each in (kept, later)] == [origin] * 2
        assert not origin.startswith(OLD_NAME)
