"""The statements of `sql/queries.sql` by name; parameters are named there and become `$1`, `$2` … here."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib import resources

import asyncpg

from kubernaut.datastorage.errors import RowsDiscarded

_HEAD = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)\b")


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement as PostgreSQL takes it."""

    name: str
    sql: str
    parameters: tuple[str, ...]

    def bind(self, **values: object) -> list[object]:
        """The values in the order of the placeholders. Raises TypeError unless exactly the named ones are given."""
        if values.keys() != set(self.parameters):
            raise TypeError(f"{self.name} takes {', '.join(self.parameters)}, not {', '.join(values)}")
        return [values[name] for name in self.parameters]


def parse(text: str) -> dict[str, Statement]:
    """Every statement of a file, by name."""
    pieces = _HEAD.split(text)[1:]
    return {name: _statement(name, body) for name, body in zip(pieces[::2], pieces[1::2], strict=True)}


def _statement(name: str, body: str) -> Statement:
    code = "\n".join(line for line in body.splitlines() if not line.lstrip().startswith("--")).strip().rstrip(";")
    parameters = tuple(dict.fromkeys(_PARAMETER.findall(code)))
    places = {parameter: f"${number}" for number, parameter in enumerate(parameters, start=1)}
    return Statement(name=name, sql=_PARAMETER.sub(lambda match: places[match[1]], code), parameters=parameters)


QUERIES = parse(resources.files("kubernaut.datastorage").joinpath("sql/queries.sql").read_text())


async def execute(connection: asyncpg.Connection, name: str, **values: object) -> None:
    """Run a statement that returns no rows."""
    statement = QUERIES[name]
    await connection.execute(statement.sql, *statement.bind(**values))


async def store(connection: asyncpg.Connection, name: str, **values: object) -> None:
    """Run a statement that stores one row. Raises RowsDiscarded when it stored none."""
    statement = QUERIES[name]
    status = await connection.execute(statement.sql, *statement.bind(**values))
    if _affected(status) != 1:
        raise RowsDiscarded(f"stored no row by {name}")


async def copy(
    connection: asyncpg.Connection, table: str, columns: Sequence[str], records: Collection[tuple[object, ...]]
) -> None:
    """Store rows by COPY. Raises RowsDiscarded when fewer were stored."""
    status = await connection.copy_records_to_table(table, records=records, columns=columns)
    if _affected(status) != len(records):
        raise RowsDiscarded(f"stored {_affected(status)} of {len(records)} rows of {table}")


def _affected(status: str) -> int:
    """The number of rows in the status of a command, such as `INSERT 0 1` or `COPY 10`."""
    return int(status.rpartition(" ")[2])


async def fetch(connection: asyncpg.Connection | asyncpg.Pool, name: str, **values: object) -> list[asyncpg.Record]:
    """Every row that a statement returns."""
    statement = QUERIES[name]
    found: list[asyncpg.Record] = await connection.fetch(statement.sql, *statement.bind(**values))
    return found


async def fetch_row(
    connection: asyncpg.Connection | asyncpg.Pool, name: str, **values: object
) -> asyncpg.Record | None:
    """The first row that a statement returns, if there is one."""
    statement = QUERIES[name]
    return await connection.fetchrow(statement.sql, *statement.bind(**values))
