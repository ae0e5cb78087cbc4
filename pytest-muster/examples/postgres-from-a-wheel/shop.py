"""What is tested: a shop that never sells what it does not have."""

import asyncpg


class SoldOut(Exception):
    """There is less in stock than was ordered."""


async def order(connection: asyncpg.Connection, item: str, quantity: int) -> int:
    """The number of a new order; raises `SoldOut`, and then nothing has changed."""
    async with connection.transaction():
        taken = await connection.execute(
            "UPDATE items SET in_stock = in_stock - $2 WHERE name = $1 AND in_stock >= $2", item, quantity
        )
        if taken == "UPDATE 0":
            raise SoldOut(f"{quantity} of {item}")
        return await connection.fetchval(
            "INSERT INTO orders (item, quantity) VALUES ($1, $2) RETURNING id", item, quantity
        )
