"""Edits that somebody with a superuser's rights could make to the tables, decided by a seed.

Every column of every table whose content is evidence is edited in several ways, two rows are swapped, rows are deleted,
doubled and invented, tables emptied, partitions detached and dropped. Triggers are off, and a constraint that stands
in the way is dropped, because a superuser can do both.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg

TABLES = {
    "audit_events": "event_timestamp, event_id",
    "audit_ledger": "shard, sequence",
    "audit_conflicts": "conflict_id",
    "audit_trees": "shard",
    "audit_tiles": "shard, level, index",
    "audit_checkpoints": "shard, size",
    "audit_cosignatures": "shard, size, root, witness",
    "audit_settings": "only_row",
    "audit_legal_holds": "placed_at, hold_id",
    "audit_legal_hold_releases": "hold_id",
    "audit_expired": "shard, sequence",
}
"""The tables whose content is evidence, and the order in which their rows are counted."""

HARMLESS = {
    ("audit_checkpoints", "signed_at"): "no statement rests on it: the signature covers origin, size and root",
    ("audit_cosignatures", "received_at"): "no statement rests on it: a cosignature carries its own signed time",
    ("audit_conflicts", "conflict_id"): "a number that nothing refers to; the attempt is an event of the ledger",
}
"""Columns whose edit changes no evidence, and why."""

_BY_TYPE: dict[str, Sequence[str]] = {
    "bytea": ("set_byte({c}, {n} % length({c}), get_byte({c}, {n} % length({c})) # 1)", "{other}", "sha256('x')"),
    "text": (
        "{c} || 'x'",
        "overlay({c} placing '~' from 1 for 1)",
        "{other}",
        "''",
        "upper({c}) || lower({c})",
        "translate({c}, 'abc012', 'bcd123')",
    ),
    "int": ("{c} + 1", "{c} - 1", "{other}", "{n}"),
    "bool": ("NOT {c}",),
    "timestamptz": (
        "{c} + interval '1 microsecond'",
        "{c} - interval '1 day'",
        "{c} + interval '1 year'",
        "{other}",
        "'20000-01-01'",
        "'infinity'",
    ),
    "uuid": ("'{uuid}'::uuid", "{other}"),
    "jsonb": (
        "{c} || '{{\"x\": 1}}'",
        "{c} - (SELECT min(key) FROM jsonb_object_keys({c}) AS key)",
        "jsonb_set({c}, ARRAY[(SELECT max(key) FROM jsonb_object_keys({c}) AS key)], '\"y\"')",
        "{other}",
        "'null'",
        "'[]'",
    ),
    "inet": ("{c} + 1", "'10.9.8.7'::inet", "'::1'::inet", "set_masklen({c}, 8)", "{other}"),
}
_SIMILAR = {"varchar": "text", "int2": "int", "int4": "int", "int8": "int"}
_EMPTY_VALUES = {
    "text": "'x'",
    "int": "1",
    "bool": "true",
    "uuid": "'{uuid}'::uuid",
    "inet": "'10.9.8.7'::inet",
    "bytea": "sha256('y')",
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column that can be edited."""

    table: str
    name: str
    type: str
    is_nullable: bool


@dataclass(frozen=True, kw_only=True)
class Edit:
    """What is done."""

    table: str
    description: str
    statements: tuple[str, ...]
    column: str = ""
    """The one column that is edited; empty where rows are."""

    @property
    def harmless_because(self) -> str:
        return HARMLESS.get((self.table, self.column), "")

    def __str__(self) -> str:
        return f"{self.table}: {self.description}"


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """What there is to edit."""

    columns: list[Column]
    counts: dict[str, int]
    partitions: list[str] = field(default_factory=list)


async def read_catalog(connection: asyncpg.Connection) -> Catalog:
    """Tables, columns and rows as they are now."""
    found = await connection.fetch(
        """SELECT table_name, column_name, udt_name, is_nullable = 'YES' AS is_nullable FROM information_schema.columns
            WHERE table_name = ANY($1) AND is_generated = 'NEVER' ORDER BY table_name, ordinal_position""",
        list(TABLES),
    )
    columns = [
        Column(
            table=row["table_name"],
            name=row["column_name"],
            type=_SIMILAR.get(row["udt_name"], row["udt_name"]),
            is_nullable=row["is_nullable"],
        )
        for row in found
        if row["column_name"] != "only_row"
    ]
    counts = {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES}
    partitions = await connection.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'audit_events'::regclass ORDER BY 1"
    )
    names = [row["name"] for row in partitions]
    filled = [name for name in names if await connection.fetchval(f"SELECT EXISTS (SELECT FROM {name})")]
    return Catalog(columns=columns, counts=counts, partitions=filled)


def random_edit(catalog: Catalog, seed: int) -> Edit:
    """The edit of a seed."""
    rng = random.Random(seed)
    if rng.random() < 0.75:
        return rng.choice([_value, _value, _value, _swap_values])(catalog, rng)
    return rng.choice(_OF_ROWS)(catalog, rng)


def _row(catalog: Catalog, table: str, rng: random.Random) -> str:
    """The condition that one row meets, whichever partition it is in."""
    offset = rng.randrange(max(catalog.counts[table], 1))
    picked = f"SELECT tableoid, ctid FROM {table} ORDER BY {TABLES[table]} OFFSET {offset} LIMIT 1"
    return f"({table}.tableoid, {table}.ctid) = ({picked})"


def _value(catalog: Catalog, rng: random.Random) -> Edit:
    column = rng.choice(catalog.columns)
    row = _row(catalog, column.table, rng)
    others = rng.randrange(max(catalog.counts[column.table], 1))
    other = f"(SELECT o.{column.name} FROM {column.table} AS o ORDER BY {TABLES[column.table]} OFFSET {others} LIMIT 1)"
    parts = {"c": column.name, "n": rng.randrange(30), "uuid": UUID(int=rng.getrandbits(128)), "other": other}
    templates = list(_BY_TYPE[column.type])
    template = rng.choice([*templates, "NULL"] if column.is_nullable else templates)
    value = template.format(**parts)
    if column.is_nullable and template != "NULL" and column.type in _EMPTY_VALUES:
        value = f"coalesce({value}, {_EMPTY_VALUES[column.type].format(**parts)})"
    return Edit(
        table=column.table,
        column=column.name,
        description=f"{column.name} = {value}",
        statements=(f"UPDATE {column.table} SET {column.name} = {value} WHERE {row}",),
    )


def _swap_values(catalog: Catalog, rng: random.Random) -> Edit:
    column = rng.choice([each for each in catalog.columns if catalog.counts[each.table] > 1])
    first, second = _two(catalog, column.table, rng)
    swapped = _swap(column.table, [column.name], first, second)
    description = f"swap {column.name} of rows {first} and {second}"
    return Edit(table=column.table, column=column.name, description=description, statements=swapped)


def _swap_rows(catalog: Catalog, rng: random.Random) -> Edit:
    """Two rows exchange all but their keys: a reordering."""
    table = rng.choice(["audit_ledger", "audit_ledger", "audit_tiles", "audit_trees", "audit_events", "audit_expired"])
    first, second = _two(catalog, table, rng)
    keys = set(TABLES[table].split(", "))
    columns = [column.name for column in catalog.columns if column.table == table and column.name not in keys]
    return Edit(
        table=table,
        description=f"swap rows {first} and {second} but for {TABLES[table]}",
        statements=_swap(table, columns, first, second),
    )


def _two(catalog: Catalog, table: str, rng: random.Random) -> tuple[int, int]:
    first, second = rng.sample(range(catalog.counts[table]), 2)
    return first, second


def _swap(table: str, columns: Sequence[str], first: int, second: int) -> tuple[str, ...]:
    order = TABLES[table]
    names = ", ".join(columns)
    numbered = f"SELECT tableoid AS t, ctid AS c, row_number() OVER (ORDER BY {order}) - 1 AS n, {names} FROM {table}"
    values = ", ".join(f"{name} = their.{name}" for name in columns)
    pair = f"({first}, {second})"
    rows = f"({numbered}) AS own, ({numbered}) AS their"
    both = f"own.n IN {pair} AND their.n IN {pair} AND own.n <> their.n"
    where = f"{both} AND {table}.tableoid = own.t AND {table}.ctid = own.c"
    return (f"UPDATE {table} SET {values} FROM {rows} WHERE {where}",)


def _delete(catalog: Catalog, rng: random.Random) -> Edit:
    table = rng.choice([table for table in _DELETABLE if catalog.counts[table]])
    row = _row(catalog, table, rng)
    if table == "audit_conflicts":
        # Where the event of an attempt was erased, its row is not missed: two hashes that nothing leads to any more.
        row += " AND refused_event <> 'null'"
    return Edit(table=table, description=f"delete a row ({row})", statements=(f"DELETE FROM {table} WHERE {row}",))


def _delete_tail(catalog: Catalog, rng: random.Random) -> Edit:
    table = rng.choice(["audit_ledger", "audit_tiles", "audit_expired"])
    count = rng.randint(1, 9)
    order = ", ".join(f"{column} DESC" for column in TABLES[table].split(", "))
    picked = f"SELECT ctid FROM {table} ORDER BY {order} LIMIT {count}"
    return Edit(
        table=table,
        description=f"delete the last {count} rows",
        statements=(f"DELETE FROM {table} WHERE ctid IN ({picked})",),
    )


def _delete_correlation(catalog: Catalog, rng: random.Random) -> Edit:
    correlation = f"rr-{rng.randrange(4, 40)}"
    tables = rng.choice([("audit_events",), ("audit_ledger",), ("audit_events", "audit_ledger")])
    return Edit(
        table=tables[-1],
        description=f"delete {correlation} from {' and '.join(tables)}",
        statements=tuple(f"DELETE FROM {table} WHERE correlation_id = '{correlation}'" for table in tables),
    )


def _truncate(catalog: Catalog, rng: random.Random) -> Edit:
    table = rng.choice([*(table for table in _DELETABLE if catalog.counts[table]), *catalog.partitions])
    of = "audit_events" if table in catalog.partitions else table
    return Edit(table=of, description=f"truncate {table}", statements=(f"TRUNCATE {table}",))


def _lose_partition(catalog: Catalog, rng: random.Random) -> Edit:
    partition = rng.choice(catalog.partitions)
    detach = f"ALTER TABLE audit_events DETACH PARTITION {partition}"
    statement = rng.choice([detach, f"DROP TABLE {partition}"])
    return Edit(table="audit_events", description=statement, statements=(statement,))


def _add_row(catalog: Catalog, rng: random.Random) -> Edit:
    """A copy of a row with another key: doubled, or an orphan."""
    table = rng.choice([table for table in _ADDABLE if catalog.counts[table]])
    names = [column.name for column in catalog.columns if column.table == table]
    changes = rng.choice(_ADDABLE[table]).format(uuid=UUID(int=rng.getrandbits(128)), n=rng.randrange(5000, 9000))
    column, _, value = changes.partition(" = ")
    values = ", ".join(value if name == column else name for name in names)
    row = _row(catalog, table, rng)
    copy = f"SELECT {values} FROM {table} WHERE {row}"
    statement = f"INSERT INTO {table} ({', '.join(names)}) OVERRIDING SYSTEM VALUE {copy}"
    return Edit(table=table, description=f"add a copy of a row with {changes} ({row})", statements=(statement,))


_DELETABLE = tuple(table for table in TABLES if table not in {"audit_checkpoints", "audit_cosignatures"})
"""A deleted checkpoint or cosignature is a statement less about a tree that stays as it is: whoever relies on one keeps
it, and compares. The others are found."""

_ADDABLE = {
    "audit_events": (
        "event_id = '{uuid}'",
        "event_timestamp = event_timestamp + interval '1 second'",
        "duration_ms = 7",
    ),
    "audit_ledger": ("sequence = {n}", "sequence = sequence + 5000", "shard = 7", "event_id = '{uuid}'"),
    "audit_conflicts": ("conflict_id = {n}", "conflict_id = -{n}"),
    "audit_trees": ("shard = 7", "shard = 1023"),
    "audit_tiles": ("index = {n}", "level = 3", "shard = 7"),
    "audit_checkpoints": ("size = size + 1", "shard = 7", "size = size - 1"),
    "audit_cosignatures": ("size = size + 1", "shard = 7", "witness = 'another'"),
    "audit_legal_holds": ("hold_id = '{uuid}'",),
    "audit_legal_hold_releases": ("hold_id = '{uuid}'",),
    "audit_expired": ("sequence = sequence + 1", "sequence = {n}", "shard = 7"),
}
"""How a copy of a row differs from it; a copy that does not is doubled."""

_OF_ROWS: Sequence[Callable[[Catalog, random.Random], Edit]] = (
    _swap_rows,
    _swap_rows,
    _delete,
    _delete,
    _delete_tail,
    _delete_correlation,
    _truncate,
    _lose_partition,
    _add_row,
    _add_row,
    _add_row,
)
