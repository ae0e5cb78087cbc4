"""Verifying consecutive tiles of one ledger through one connection.

A tile whose rows all have the right hashes, and their payload or a mark that explains why not, is recognised from the
rows' texts, see `ledger_lines`. Any other is read again row by row, which finds out what is wrong and how it is named.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Self

import asyncpg
import msgspec

from kubernaut.api.ledger.tiles import WIDTH
from kubernaut.datastorage import chain, database, ledger_lines, queries
from kubernaut.datastorage.config import DatabaseConfig
from kubernaut.datastorage.errors import CannotStart, Reason
from kubernaut.datastorage.ledger_lines import Recognised
from kubernaut.datastorage.ledger_reader import LedgerReader
from kubernaut.datastorage.removals import Removals
from kubernaut.datastorage.stored_rows import StoredRows, Unreadable
from kubernaut.datastorage.tree_verification import RangeResult, StoredTile, TileVerifier, check_root
from kubernaut.datastorage.verification import Findings
from kubernaut.ops.settings import SettingsError

RANGE_TILES = 64
"""Tiles of one range."""

STATEMENT_TIMEOUT = 600.0
"""Seconds for one statement; a range that is read from a slow disk takes longer than a request may."""

_SESSION = {
    **ledger_lines.SESSION,
    # For so many rows the planner would rather read every payload there is than look up those of the range.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    "idle_in_transaction_session_timeout": "0",  # the transaction is as old as the verification
}


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """Which tiles to verify."""

    shard: int
    first: int
    """Index of the first tile."""

    end: int
    """Index behind the last one."""

    size: int
    """Leaves of the tree, which may end within the last tile."""

    cuts: list[int]
    """Sizes within these tiles at which the tree will be compared."""

    @property
    def until(self) -> int:
        """The sequence of the last row."""
        return min(self.end * WIDTH, self.size)

    def width(self, index: int) -> int:
        """Leaves in one of the tiles."""
        return min(WIDTH, self.size - index * WIDTH)


def ranges(shard: int, start: int, size: int, cuts: Iterable[int]) -> Iterable[Range]:
    """The ranges of a ledger from the tile at which `start` rows end."""
    sizes = sorted(cuts)
    for first in range(start // WIDTH, -(-size // WIDTH), RANGE_TILES):
        end = min(first + RANGE_TILES, -(-size // WIDTH))
        inside = [cut for cut in sizes if first * WIDTH < cut <= end * WIDTH]
        yield Range(shard=shard, first=first, end=end, size=size, cuts=inside)


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the database; has its password."""

    dsn: str
    connect_timeout: float
    lock_timeout: float

    @classmethod
    def of(cls, config: DatabaseConfig) -> Self:
        """With the credentials as they stand in their files now. Raises CannotStart when there are none."""
        try:
            dsn = config.dsn()
        except SettingsError as error:
            raise CannotStart(str(error), Reason.NO_CREDENTIALS) from error
        return cls(dsn=dsn, connect_timeout=config.connect_timeout, lock_timeout=config.lock_timeout)

    def __repr__(self) -> str:
        return "Access(***)"


async def connect(access: Access) -> asyncpg.Connection:
    """A connection for a verification. Raises CannotStart or DatabaseUnavailable."""
    return await database.connect(
        access.dsn,
        timeout=access.connect_timeout,
        statement_timeout=STATEMENT_TIMEOUT,
        lock_timeout=access.lock_timeout,
        **_SESSION,
    )


@asynccontextmanager
async def open_snapshot(connection: asyncpg.Connection, snapshot: str = "") -> AsyncIterator[str]:
    """A transaction that sees one state of the database: that of `snapshot`, or the present one, whose name it gives.

    Raises DatabaseUnavailable.
    """
    with database.translated():
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            if snapshot:
                await connection.execute(queries.QUERIES["use_snapshot"].sql.replace("$1", _quoted(snapshot)))
                yield snapshot
            else:
                exported = await queries.fetch(connection, "export_snapshot")
                yield exported[0]["snapshot"]


def _quoted(snapshot: str) -> str:
    if not re.fullmatch(r"[0-9A-Fa-f-]+", snapshot):
        raise ValueError(f"no name of a snapshot: {snapshot!r}")
    return f"'{snapshot}'"


class RangeVerifier:
    """Verifies ranges in one transaction."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def verify(self, wanted: Range) -> RangeResult:
        """Verify the rows of a range and name what is wrong."""
        tiles = await self._tiles(wanted)
        findings = Findings()
        result = RangeResult()
        removals = Removals(self._connection, LedgerReader(self._connection))
        recognised = await self._recognised(wanted, tiles, removals)
        rows = StoredRows(self._connection, removals)
        for index in range(wanted.first, wanted.end):
            if index in recognised:
                found, missing = recognised.pop(index)
                result.total_count += len(found)
                result.payload_count += len(found) - len(missing)
            else:
                verifier = await self._tile(wanted, index, tiles.get(index), rows, findings)
                found = verifier.finish()
                result.total_count += verifier.total_count
                result.payload_count += verifier.payload_count
                result.gaps += verifier.gaps
            result.add_leaves(index, found, wanted.cuts)
            if len(found) == WIDTH:
                check_root(findings, index, tiles.get(index), result.roots[-1])
        result.findings, result.bad_count = findings.rows, findings.bad_count
        result.removed = removals.summary
        return result

    async def _tile(
        self, wanted: Range, index: int, stored: StoredTile | None, rows: StoredRows, findings: Findings
    ) -> TileVerifier:
        """One tile row by row."""
        first = index * WIDTH
        before = await self._rows("ledger_link", shard=wanted.shard, until=first)
        link = (before[0]["link_hash"] if before else None) or chain.ORIGIN
        verifier = TileVerifier(index=index, width=wanted.width(index), stored=stored, link=link, findings=findings)
        for row in await rows.of_ledger(wanted.shard, first, first + verifier.width):
            if isinstance(row, Unreadable):
                verifier.unreadable(row.sequence, row.reason)
            else:
                verifier.check(row)
        await asyncio.sleep(0)  # others are answered in between
        return verifier

    async def _tiles(self, wanted: Range) -> dict[int, StoredTile]:
        found = await self._rows("full_tiles", shard=wanted.shard, level=0, first=wanted.first, end=wanted.end)
        return {tile["index"]: StoredTile(tile["hashes"], tile["root"]) for tile in found}

    async def _recognised(
        self, wanted: Range, tiles: dict[int, StoredTile], removals: Removals
    ) -> dict[int, Recognised]:
        """The tiles in which nothing is wrong, as far as the texts of their rows and their marks show that."""
        after, until = wanted.first * WIDTH, wanted.until
        recognised: dict[int, Recognised] = {}
        lines = _Lines()
        index = wanted.first

        async def take(data: bytes) -> None:
            nonlocal index
            for tile in lines.tiles(data):
                self._recognise(wanted, index, tile, tiles, recognised)
                index += 1
                await asyncio.sleep(0)  # others are answered in between

        statement = queries.QUERIES["ledger_lines"]
        values = statement.bind(shard=wanted.shard, after=after, until=until)
        with database.translated():
            await self._connection.copy_from_query(
                statement.sql,
                *values,
                output=take,
                format="csv",
                delimiter=ledger_lines.SEPARATOR,
                quote=ledger_lines.QUOTE,
                null=ledger_lines.NULL,
            )
        self._recognise(wanted, index, lines.rest(), tiles, recognised)
        marks: dict[int, list[asyncpg.Record]] = {}
        for mark in await self._rows("marked_tiles", shard=wanted.shard, after=after, until=until):
            marks.setdefault(mark["tile"], []).append(mark)
        unexplained = [
            index
            for index, tile in recognised.items()
            if (tile.missing or index in marks)
            and not await removals.explain_all(wanted.shard, tile.missing, marks.get(index, []))
        ]
        return {index: tile for index, tile in recognised.items() if index not in unexplained}

    def _recognise(
        self,
        wanted: Range,
        index: int,
        lines: list[bytes],
        tiles: dict[int, StoredTile],
        recognised: dict[int, Recognised],
    ) -> None:
        if index >= wanted.end or len(lines) != wanted.width(index):
            return
        found = ledger_lines.recognise(lines, wanted.shard, index * WIDTH + 1)
        if found is None:
            return
        if len(found.leaves) == WIDTH:
            tile = tiles.get(index)
            if tile is None or tile.hashes != b"".join(found.leaves):
                return
        recognised[index] = found

    async def _rows(self, name: str, **values: object) -> list[asyncpg.Record]:
        with database.translated():
            return await queries.fetch(self._connection, name, **values)


class _Lines:
    """The lines of a COPY, a tile's worth at a time, however its pieces are cut."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._count = 0

    def tiles(self, data: bytes) -> Iterable[list[bytes]]:
        """The tiles that are complete with this piece."""
        self._pieces.append(data)
        self._count += data.count(b"\n")
        if self._count < WIDTH:
            return
        *lines, partial = b"".join(self._pieces).split(b"\n")
        whole = len(lines) // WIDTH * WIDTH
        for first in range(0, whole, WIDTH):
            yield lines[first : first + WIDTH]
        left = lines[whole:]
        self._pieces = [b"\n".join([*left, partial])]
        self._count = len(left)

    def rest(self) -> list[bytes]:
        """The lines behind the last whole tile, when the COPY has ended."""
        return b"".join(self._pieces).split(b"\n")[:-1]
