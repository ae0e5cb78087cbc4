"""Valkey of our own: start, recovery, settings."""

import valkey.asyncio


async def test_each_test_has_an_empty_database_of_its_own(valkey_url):
    async with valkey.asyncio.from_url(valkey_url) as client:
        await client.set("key", 1)

        assert await client.dbsize() == 1
