"""Bringing a database to the schema that this version needs.

Migrations are goose-style files, `NNNNN_pre_name.sql` or `NNNNN_post_name.sql`. A `pre` migration suits the code
before it as well, so it runs before a roll-out; a `post` one runs after the last old process is gone. Applied files
are remembered with the hash of their text: an edited one stops everything, because the databases out there would no
longer be what the repository says. An advisory lock lets several callers start at once. A migration is one transaction,
unless it only adds indexes: those are built while others write, see `online_indexes`.
"""

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources

import asyncpg
import structlog

from kubernaut.datastorage import database, foreign_objects, online_indexes, queries
from kubernaut.datastorage.errors import DatabaseUnavailable, EditedMigration, NotMigrated, Reason
from kubernaut.datastorage.foreign_objects import ForeignObject
from kubernaut.datastorage.queries import QUERIES

log = structlog.get_logger("datastorage")

MAX_STATEMENT_DURATION = 6 * 3600.0
"""Seconds that one statement of a migration may take: an index on a large ledger takes minutes, and a broken
connection must not hold a migration for ever."""

LOCK_INTERVAL = 0.1
"""Seconds between looks whether another process has done its migrations."""

_NAME = re.compile(r"(\d{5})_(pre|post)_([a-z0-9_]+)\.sql")


class Stage(StrEnum):
    """How far to go."""

    PRE = "pre"
    POST = "post"


@dataclass(frozen=True, kw_only=True)
class Migration:
    """One file."""

    version: int
    stage: Stage
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    def statements(self) -> list[str]:
        """The SQL of the `Up` section, one statement each; a block between the goose markers is one."""
        up = self.text.split("-- +goose Up", 1)[1].split("-- +goose Down", 1)[0]
        return list(_split(up))


def _split(section: str) -> Iterator[str]:
    lines: list[str] = []
    in_block = False
    for line in section.splitlines():
        marker = line.strip()
        if marker.startswith("-- +goose Statement"):
            in_block = marker.endswith("Begin")
            ends = not in_block
        else:
            lines.append(line)
            ends = not in_block and marker.endswith(";") and not marker.startswith("--")
        if ends and "".join(lines).strip():
            yield "\n".join(lines).strip()
            lines = []


def known() -> list[Migration]:
    """Every migration that this version ships, in order."""
    found = []
    for file in resources.files("kubernaut.datastorage").joinpath("migrations").iterdir():
        if match := _NAME.fullmatch(file.name):
            version, stage, name = match.groups()
            found.append(Migration(version=int(version), stage=Stage(stage), name=name, text=file.read_text()))
    return sorted(found, key=lambda migration: migration.version)


async def migrate(
    dsn: str, *, upto: Stage = Stage.POST, migrations: list[Migration] | None = None, timeout: float = 60.0
) -> list[str]:
    """Apply what is missing, each file in one transaction or as indexes beside writers; the names of those applied now.

    `timeout` is for connecting and for each lock, in seconds: whoever waits for a lock holds up the writers behind.
    Raises EditedMigration before anything is changed, CannotStart when PostgreSQL rejects the connection, and
    DatabaseUnavailable when a lock is not to be had.
    """
    wanted = known() if migrations is None else migrations
    done: list[str] = []
    async with _locked(dsn, timeout) as connection:
        await connection.execute(QUERIES["create_migrations_table"].sql)
        applied = await _applied(connection)
        _reject_edited(wanted, applied)
        for migration in wanted:
            if migration.version in applied or (upto is Stage.PRE and migration.stage is Stage.POST):
                continue
            with database.translated():
                await _apply(connection, migration, timeout)
            log.info("migration applied", version=migration.version, name=migration.name)
            done.append(migration.name)
    return done


async def _apply(connection: asyncpg.Connection, migration: Migration, timeout: float) -> None:
    statements = migration.statements()
    indexes = online_indexes.parse(statements)
    for index in indexes:
        await online_indexes.build(connection, index, lock_timeout=timeout)
    async with connection.transaction():
        for statement in statements if not indexes else []:
            await connection.execute(statement)
        remember = QUERIES["remember_migration"]
        await connection.execute(
            remember.sql,
            *remember.bind(version=migration.version, name=migration.name, checksum=migration.checksum),
        )


@dataclass(frozen=True, kw_only=True)
class MigrationStatus:
    """A migration, and whether a database has it."""

    version: int
    stage: str
    """Empty for one that this version does not know: a newer version has applied it."""
    name: str
    is_applied: bool


@dataclass(frozen=True, kw_only=True)
class SchemaStatus:
    """What a database has."""

    migrations: list[MigrationStatus]
    foreign_objects: list[ForeignObject]


async def status(dsn: str, *, timeout: float = 60.0) -> SchemaStatus:
    """All migrations that this version ships or the database has, in order, and what is not ours; changes nothing.

    Raises EditedMigration, and CannotStart when PostgreSQL rejects the connection.
    """
    connection = await database.connect(dsn, timeout=timeout, statement_timeout=timeout, lock_timeout=timeout)
    try:
        with database.translated():
            found_objects = await foreign_objects.find(connection)
        applied = await _applied(connection)
    except asyncpg.UndefinedTableError:
        applied = {}
    finally:
        await connection.close(timeout=5)
    _reject_edited(known(), applied)
    found = [
        MigrationStatus(version=each.version, stage=each.stage, name=each.name, is_applied=each.version in applied)
        for each in known()
    ]
    newer = sorted(applied.keys() - {each.version for each in found})
    unknown = [MigrationStatus(version=each, stage="", name="of a newer version", is_applied=True) for each in newer]
    return SchemaStatus(migrations=found + unknown, foreign_objects=found_objects)


async def require_migrated(connection: asyncpg.Connection) -> None:
    """Raise NotMigrated when a `pre` migration of this version is missing; newer ones are somebody else's matter."""
    try:
        applied = await _applied(connection)
    except asyncpg.UndefinedTableError:
        applied = {}
    missing = [migration for migration in known() if migration.stage is Stage.PRE and migration.version not in applied]
    if missing:
        names = ", ".join(f"{migration.version:05d} {migration.name}" for migration in missing)
        raise NotMigrated(f"the database schema is not migrated (missing: {names}); run: kubernaut migrate")
    _reject_edited(known(), applied)


@asynccontextmanager
async def _locked(dsn: str, timeout: float) -> AsyncIterator[asyncpg.Connection]:
    connection = await database.connect(
        dsn,
        timeout=timeout,
        statement_timeout=MAX_STATEMENT_DURATION,
        lock_timeout=timeout,
        idle_in_transaction_session_timeout=f"{round(timeout * 1000)}",
    )
    try:
        # The lock belongs to the session: it ends with the connection, however that ends.
        deadline = time.monotonic() + timeout
        while not (await queries.fetch(connection, "try_lock_migrations"))[0]["is_locked"]:
            if time.monotonic() > deadline:
                raise DatabaseUnavailable("another process migrates this database; try again later", Reason.LOCKED)
            await asyncio.sleep(LOCK_INTERVAL)
        yield connection
    finally:
        await connection.close(timeout=5)


async def _applied(connection: asyncpg.Connection) -> dict[int, str]:
    return {row["version"]: row["checksum"] for row in await connection.fetch(QUERIES["applied_migrations"].sql)}


def _reject_edited(wanted: list[Migration], applied: dict[int, str]) -> None:
    for migration in wanted:
        if applied.get(migration.version, migration.checksum) != migration.checksum:
            raise EditedMigration(
                f"migration {migration.version:05d} {migration.name} was applied with another text; "
                "restore the file and write a new migration instead"
            )
