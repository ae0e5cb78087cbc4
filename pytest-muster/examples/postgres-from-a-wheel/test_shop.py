"""Every test may use the same names: its database is its worker's, and its changes are rolled back."""

import asyncpg
import pytest
from shop import SoldOut, order


@pytest.fixture
async def apples(connection):
    await connection.execute("INSERT INTO items VALUES ('apple', 3)")
    return connection


async def stock(connection, item):
    return await connection.fetchval("SELECT in_stock FROM items WHERE name = $1", item)


async def test_an_order_takes_what_is_ordered_out_of_stock(apples):
    assert await order(apples, "apple", 2)
    assert await stock(apples, "apple") == 1


async def test_nobody_gets_more_than_there_is(apples):
    with pytest.raises(SoldOut):
        await order(apples, "apple", 4)

    assert await stock(apples, "apple") == 3


@pytest.mark.parametrize("quantity", [0, -1])
async def test_an_order_is_for_something(apples, quantity):
    with pytest.raises(asyncpg.CheckViolationError):
        await order(apples, "apple", quantity)


@pytest.mark.parametrize("customer", range(8))
async def test_the_last_apple_is_there_for_everybody(apples, customer):
    """Eight tests empty the shop; each of them finds it full."""
    assert await stock(apples, "apple") == 3
    await order(apples, "apple", 3)
    assert await stock(apples, "apple") == 0


async def test_a_worker_has_a_database_of_its_own(connection, muster_worker):
    assert muster_worker.worker in await connection.fetchval("SELECT current_database()")
