"""What is decided once for a database and must be the same in every process on it."""

import uuid
from dataclasses import dataclass

import asyncpg

from kubernaut.datastorage import queries
from kubernaut.datastorage.config import LedgerConfig
from kubernaut.datastorage.errors import CannotStart, DatabaseUnavailable


@dataclass(frozen=True, kw_only=True)
class DatabaseSettings:
    """The settings that the database has."""

    shards: int
    origin: str

    def origin_of(self, shard: int) -> str:
        """The origin in the checkpoints of one ledger. Raises DatabaseUnavailable while the database is unknown."""
        if not self.origin:
            raise DatabaseUnavailable("PostgreSQL has not answered yet, so the origin of the ledger is unknown")
        return f"{self.origin}/{shard}"


async def bound_origin(connection: asyncpg.Connection) -> str:
    """The origin of the ledgers in the database; empty before the first process on it has decided one."""
    row = await queries.fetch_row(connection, "settings")
    return row["ledger_origin"] if row else ""


async def bind(connection: asyncpg.Connection, config: LedgerConfig) -> DatabaseSettings:
    """The settings of the database, decided now if this is the first process on it.

    Raises CannotStart when they are not those of the configuration.
    """
    largest = max((row["shard"] for row in await queries.fetch(connection, "ledger_shards")), default=0)
    if largest < config.shards:
        origin = config.origin or f"kubernaut.ai/ledger/{uuid.uuid4()}"
        await queries.execute(connection, "bind_settings", shards=config.shards, origin=origin)
    row = await queries.fetch_row(connection, "settings")
    shards = row["ledger_shards"] if row else largest + 1
    if row is None or shards != config.shards:
        raise CannotStart(
            f"ledger.shards is {config.shards}, but this database was started with {shards} ledgers: a correlation "
            f"would be split between two of them; set ledger.shards to {shards}"
        )
    if config.origin and config.origin != row["ledger_origin"]:
        raise CannotStart(
            f"ledger.origin is {config.origin!r}, but the checkpoints of this database are signed as "
            f"{row['ledger_origin']!r}; an origin never changes, so set that one or leave it out"
        )
    return DatabaseSettings(shards=shards, origin=row["ledger_origin"])
