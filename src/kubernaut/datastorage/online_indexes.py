"""Building the indexes of a migration while events are written.

`CREATE INDEX` keeps every writer waiting until the table is read, which takes minutes on a large ledger. Migrations are
texts that never change, and a database that is made from nothing should get its indexes plainly; so the text says which
index there is to be, and this module how it is built: `CONCURRENTLY`, and partition by partition where the table has
partitions, for which PostgreSQL has no such command. None of this is possible within a transaction. What an interrupted
build leaves is found and finished by the next one.
"""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from kubernaut.datastorage import queries

LOCK_ATTEMPT_TIMEOUT = "1s"
"""Each attempt to lock out the writers for a moment; those behind wait as long."""

LOCK_ATTEMPT_INTERVAL = 1.0
"""Seconds between such attempts, in which the writers go on."""

_CREATE_INDEX = re.compile(r"CREATE INDEX (?P<name>\w+) ON (?P<table>\w+) (?P<definition>[^;]+);", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class OnlineIndex:
    """An index that a migration adds."""

    name: str
    table: str
    definition: str
    """From `USING` or the columns on."""


def parse(statements: Sequence[str]) -> list[OnlineIndex]:
    """The indexes of a migration that adds indexes and nothing else; none for any other."""
    indexes = []
    for statement in statements:
        code = "\n".join(line for line in statement.splitlines() if not line.startswith("--"))
        match = _CREATE_INDEX.fullmatch(code.strip())
        if match is None:
            return []
        indexes.append(OnlineIndex(**match.groupdict()))
    return indexes


async def build(connection: asyncpg.Connection, index: OnlineIndex, *, lock_timeout: float) -> None:
    """Build what is missing of an index. Writers wait for a moment only, while the index of all partitions is named.

    `lock_timeout` is in seconds; raises asyncpg.LockNotAvailableError when the table stays locked that long.
    """
    table = await queries.fetch_row(connection, "is_partitioned", relation=index.table)
    if table and table["is_partitioned"]:
        await _build_on_partitions(connection, index, lock_timeout)
    else:
        await _build_on_table(connection, index)


async def _build_on_table(connection: asyncpg.Connection, index: OnlineIndex) -> None:
    state = await queries.fetch_row(connection, "index_state", index=index.name)
    if state and state["is_valid"]:
        return
    if state:
        await _execute_patiently(connection, f"DROP INDEX CONCURRENTLY {index.name}")
    await _execute_patiently(connection, f"CREATE INDEX CONCURRENTLY {index.name} ON {index.table} {index.definition}")


async def _build_on_partitions(connection: asyncpg.Connection, index: OnlineIndex, lock_timeout: float) -> None:
    # From here on a partition that is attached gets its part by itself.
    statement = f"CREATE INDEX IF NOT EXISTS {index.name} ON ONLY {index.table} {index.definition}"
    await _execute_briefly(connection, statement, lock_timeout)
    while True:
        for part in await queries.fetch(connection, "unattached_indexes", index=index.name):
            if part["is_valid"]:
                await _execute_briefly(
                    connection, f"ALTER INDEX {index.name} ATTACH PARTITION {part['name']}", lock_timeout
                )
            else:
                await _execute_patiently(connection, f"DROP INDEX CONCURRENTLY {part['name']}")
        missing = await queries.fetch_row(connection, "unindexed_partition", index=index.name)
        if missing is None:
            return
        await _execute_patiently(
            connection, f"CREATE INDEX CONCURRENTLY ON {missing['partition']} {missing['definition']}"
        )


async def _execute_patiently(connection: asyncpg.Connection, statement: str) -> None:
    """Run a statement that waits for old transactions, and nobody for it."""
    await connection.execute("SET lock_timeout = 0")
    try:
        await connection.execute(statement)
    finally:
        await _reset(connection)


async def _execute_briefly(connection: asyncpg.Connection, statement: str, lock_timeout: float) -> None:
    """Run a statement that takes no time once it has its lock, and give way to the writers while it waits for that."""
    deadline = time.monotonic() + lock_timeout
    while True:
        await connection.execute(f"SET lock_timeout = '{LOCK_ATTEMPT_TIMEOUT}'")
        try:
            await connection.execute(statement)
            return
        except asyncpg.LockNotAvailableError:
            if time.monotonic() > deadline:
                raise
        finally:
            await _reset(connection)
        await asyncio.sleep(LOCK_ATTEMPT_INTERVAL)


async def _reset(connection: asyncpg.Connection) -> None:
    if not connection.is_closed():
        await connection.execute("RESET lock_timeout")
