"""Named statements and migration files."""

import re
from importlib import resources

import pytest

from kubernaut.datastorage import migrate, queries
from kubernaut.datastorage.migrate import Migration, Stage

SOURCES = resources.files("kubernaut.datastorage")


def test_parameters_are_numbered_in_order_of_appearance():
    statement = queries.parse("-- name: one\n-- Says what.\nSELECT :b::text, :a, :b, 'x'::text;\n")["one"]

    assert statement.sql == "SELECT $1::text, $2, $1, 'x'::text"
    assert statement.bind(a=1, b=2) == [2, 1]


@pytest.mark.parametrize("values", [{}, {"a": 1, "c": 2}])
def test_wrong_parameters_are_refused(values: dict[str, object]):
    statement = queries.parse("-- name: one\nSELECT :a;")["one"]

    with pytest.raises(TypeError, match="one takes a"):
        statement.bind(**values)


def test_every_statement_is_used_and_no_code_builds_sql():
    code = "".join(file.read_text() for file in SOURCES.iterdir() if file.name.endswith(".py"))

    assert [name for name in queries.QUERIES if f'"{name}"' not in code] == []
    built = re.findall(r'f"+[^"]*\b(?:SELECT|INSERT|UPDATE|DELETE)\b', code)
    assert built == []


def test_migrations_are_numbered_without_gaps():
    assert [migration.version for migration in migrate.known()] == list(range(1, len(migrate.known()) + 1))
    assert len(migrate.known()) == len([f for f in SOURCES.joinpath("migrations").iterdir() if f.name.endswith(".sql")])


def test_block_is_one_statement():
    text = """-- +goose Up
-- a comment; with a semicolon
CREATE TABLE a (
    b int
);
-- +goose StatementBegin
CREATE FUNCTION f() AS $$ BEGIN; RETURN; END $$;
SELECT 1;
-- +goose StatementEnd
DROP TABLE a;
-- +goose Down
DROP TABLE b;
"""
    statements = Migration(version=1, stage=Stage.PRE, name="x", text=text).statements()

    assert [re.sub(r"\s+", " ", statement) for statement in statements] == [
        "-- a comment; with a semicolon CREATE TABLE a ( b int );",
        "CREATE FUNCTION f() AS $$ BEGIN; RETURN; END $$; SELECT 1;",
        "DROP TABLE a;",
    ]
