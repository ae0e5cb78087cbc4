"""The suite `edits`: each edit is made in a transaction, the ledger is verified in it, and it is rolled back."""

import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from faults.edits import Catalog, Edit, random_edit, read_catalog
from faults.ledgers import make_ledger
from kubernaut.api.events import Verification, VerifyRequest
from kubernaut.datastorage.config import DatabaseConfig
from kubernaut.datastorage.ledger_verification import SnapshotVerification
from kubernaut.datastorage.migrate import migrate
from kubernaut.datastorage.range_verification import Access, connect
from kubernaut.datastorage.side_tables import PublicKeys
from kubernaut.embedded.postgres import PostgresConfig, open_postgres
from kubernaut.ops import logs

MAX_ATTEMPTS = 20
"""Edits of one seed that PostgreSQL rejects or that change nothing, before it is given up."""

_STRIDE = 1_000_003
PROGRESS_INTERVAL = 100  # edits


@dataclass(frozen=True, kw_only=True)
class EditOutcome:
    """What verification made of one edit."""

    seed: int
    edit: Edit
    finding: str
    """The first finding; empty when there was none."""
    error: str = ""
    """Why there was no verification at all."""

    @property
    def is_missed(self) -> bool:
        return not self.finding and not self.edit.harmless_because

    def __str__(self) -> str:
        if self.error:
            verdict = f"NOT VERIFIED: {self.error}"
        elif self.finding:
            verdict = f"found: {self.finding}"
        else:
            verdict = "MISSED" if self.is_missed else f"not found, harmless: {self.edit.harmless_because}"
        return f"seed {self.seed}: {verdict}\n    {self.edit}"


class Tampering:
    """A superuser's connection to the ledger."""

    def __init__(self, connection: asyncpg.Connection, catalog: Catalog, keys: PublicKeys) -> None:
        self._connection = connection
        self._keys = keys
        self._catalog = catalog

    async def verify(self) -> Verification:
        """What the service would answer, read through this connection and its transaction."""
        # What was prepared in an earlier transaction does not fit the tables of this one.
        await self._connection.reload_schema_state()
        return await SnapshotVerification(self._connection, self._keys).verify(VerifyRequest())

    async def attempt(self, seed: int) -> EditOutcome:
        """Make the edit of a seed, verify, and roll it back."""
        for turn in range(MAX_ATTEMPTS):
            edit = random_edit(self._catalog, seed + turn * _STRIDE)
            transaction = self._connection.transaction()
            await transaction.start()
            try:
                if await self._make(edit):
                    return await self._outcome(seed, edit)
            finally:
                await transaction.rollback()
        raise RuntimeError(f"seed {seed} leads to no edit that changes something")

    async def _outcome(self, seed: int, edit: Edit) -> EditOutcome:
        try:
            verification = await self.verify()
        except Exception as error:  # noqa: BLE001 - whatever it is, an auditor got no answer
            return EditOutcome(seed=seed, edit=edit, finding="", error=f"{type(error).__name__}: {error}")
        finding = verification.findings[0].message if verification.findings else ""
        return EditOutcome(seed=seed, edit=edit, finding=finding)

    async def _make(self, edit: Edit) -> bool:
        """Whether it changed anything; constraints in its way are dropped."""
        await self._connection.execute("SET LOCAL session_replication_role = replica")
        before = await self._fingerprint(edit.table)
        try:
            for statement in edit.statements:
                await self._execute(edit.table, statement)
        except (asyncpg.DataError, asyncpg.CheckViolationError, asyncpg.CardinalityViolationError):
            return False
        return before != await self._fingerprint(edit.table)

    async def _execute(self, table: str, statement: str) -> None:
        while True:
            try:
                async with self._connection.transaction():
                    await self._connection.execute(statement)
            except asyncpg.GeneratedAlwaysError:
                await self._connection.execute(f"ALTER TABLE {table} ALTER COLUMN conflict_id DROP IDENTITY")
            except asyncpg.NotNullViolationError as error:
                await self._connection.execute(f"ALTER TABLE {table} ALTER COLUMN {error.column_name} DROP NOT NULL")
            except asyncpg.IntegrityConstraintViolationError as error:
                name = error.constraint_name
                if not name:
                    raise  # no partition is there for the row
                # Each partition has a name of its own for the key of the whole table.
                name = "audit_events_pkey" if table == "audit_events" and name.endswith("pkey") else name
                await self._connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
            else:
                return

    async def _fingerprint(self, table: str) -> str:
        rows = f"SELECT md5(t::text) AS digest FROM {table} AS t"
        return str(
            await self._connection.fetchval(f"SELECT md5(string_agg(digest, '' ORDER BY digest)) FROM ({rows}) r")
        )


@asynccontextmanager
async def open_tampering(url: str, keys: PublicKeys) -> AsyncIterator[Tampering]:
    """On a database that `make_ledger` has filled; raises RuntimeError when it does not verify as it is."""
    connection = await connect(Access.of(DatabaseConfig.from_url(url)))
    try:
        tampering = Tampering(connection, await read_catalog(connection), keys)
        verification = await tampering.verify()
        if not verification.is_valid:
            raise RuntimeError(f"false alarm before any edit: {verification.findings[:3]}")
        yield tampering
    finally:
        await connection.close()


async def run(count: int, seed: int) -> int:
    """Make the edits of `count` seeds; the exit code."""
    logs.configure(logs.LogLevel.ERROR, stream=sys.stderr)
    root = Path(tempfile.mkdtemp(prefix="kn-edits-"))
    root.chmod(0o711)
    started = time.monotonic()
    outcomes: list[EditOutcome] = []
    try:
        config = PostgresConfig(directory=root / "postgres", env=os.environ, durable=False)
        async with open_postgres(config) as server:
            url = server.url("postgres")
            await migrate(url)
            keys = await make_ledger(url, root)
            async with open_tampering(url, keys) as tampering:
                print(f"{count} edits, seeds {seed} to {seed + count - 1}", flush=True)
                for number in range(count):
                    outcomes.append(outcome := await tampering.attempt(seed + number))
                    if outcome.is_missed:
                        print(
                            f"{outcome}\n    repeat: make faults ARGS='edits --count 1 --seed {outcome.seed}'",
                            flush=True,
                        )
                    if (number + 1) % PROGRESS_INTERVAL == 0:
                        print(f"{number + 1} edits", flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if count == 1:
        print(outcomes[0])
    return _report(outcomes, time.monotonic() - started)


def _report(outcomes: list[EditOutcome], took: float) -> int:
    missed = [outcome for outcome in outcomes if outcome.is_missed]
    harmless = Counter((outcome.edit.table, outcome.edit.column) for outcome in outcomes if not outcome.finding)
    for outcome in missed:
        harmless[outcome.edit.table, outcome.edit.column] -= 1
    for (table, column), number in harmless.items():
        if number:
            print(f"{number} edits of {table}.{column} changed no evidence")
    print(f"{len(outcomes)} edits in {took:.0f} s: {len(missed)} missed")
    return 1 if missed else 0
