"""PostgreSQL of our own: start, recovery, other users, foreign directories."""

import asyncpg


async def test_each_test_has_an_empty_database_of_its_own(new_database):
    first, second = await new_database(), await new_database()
    await _run(first, "CREATE TABLE here (id int)")
    copy = await new_database(template=first)

    assert await _tables(first) == ["here"]
    assert await _tables(second) == []
    assert await _tables(copy) == ["here"]


async def _run(url, statement):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(statement)
    finally:
        await connection.close()


async def _tables(url):
    rows = await _run(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    return [row["tablename"] for row in rows]
