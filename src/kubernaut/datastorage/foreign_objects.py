"""What somebody else has put on our tables: triggers, rules, policies, other types of columns.

Any of them can change, discard or hide rows while PostgreSQL reports success. Some are harmless, such as a trigger that
notifies a replication tool, so that they are named and writing goes on; as long as there is one, each write is read
back before it is committed, see `ledger_append`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg
import structlog

from kubernaut.datastorage import database, queries
from kubernaut.datastorage.metrics import Metrics

log = structlog.get_logger("datastorage")

CHECK_INTERVAL = 15.0
"""Seconds between two looks."""


@dataclass(frozen=True, kw_only=True)
class ForeignObject:
    """One of them."""

    table: str
    kind: str
    """`trigger`, `rule`, `row-level security`, `column type` or `unlogged table`."""

    name: str
    """Empty where the kind says all."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name} on {self.table}" if self.name else f"{self.kind} {self.table}"


async def find(connection: asyncpg.Connection | asyncpg.Pool) -> list[ForeignObject]:
    """Those of this database, sorted."""
    found = await queries.fetch(connection, "foreign_objects")
    return [ForeignObject(table=row["table"], kind=row["kind"], name=row["name"]) for row in found]


class ForeignObjectWatch:
    """Knows which there are, and logs when there are others."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.found: Sequence[ForeignObject] = ()

    async def check(self, connection: asyncpg.Connection | asyncpg.Pool) -> None:
        """Look now."""
        found = await find(connection)
        for each in found:
            if each not in self.found:
                log.warning("foreign object on a table of the ledger", table=each.table, kind=each.kind, name=each.name)
        for each in self.found:
            if each not in found:
                log.info("foreign object is gone", table=each.table, kind=each.kind, name=each.name)
        self.found = found
        self._metrics.foreign_objects.set(len(found))

    async def run(self, pool: asyncpg.Pool) -> None:
        """Look again and again, for as long as the service runs."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            try:
                with database.translated():
                    await self.check(pool)
            except Exception as error:  # noqa: BLE001 - the loop outlives whatever a check meets
                log.warning("schema check failed, retrying", retry_interval=CHECK_INTERVAL, error=repr(error))
