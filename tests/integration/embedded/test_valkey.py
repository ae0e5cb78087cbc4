"""Valkey of our own: start, recovery, settings."""

import asyncio
import os
import signal
import stat

import pytest
import valkey.asyncio

from kubernaut.embedded.valkey import ValkeyConfig, open_valkey


def a_config(directory, **changes):
    return ValkeyConfig(**{"directory": directory, "env": os.environ} | changes)


async def test_each_test_has_an_empty_database_of_its_own(valkey_url):
    async with valkey.asyncio.from_url(valkey_url) as client:
        await client.set("key", 1)

        assert await client.dbsize() == 1


async def test_what_it_confirms_survives_a_kill(tmp_path):
    async with open_valkey(a_config(tmp_path)) as server:
        async with valkey.asyncio.from_url(server.url()) as client:
            for number in range(100):
                await client.xadd("stream", {"number": number})
        os.kill(server.process.pid, signal.SIGKILL)
        await server.process.wait()

    async with open_valkey(a_config(tmp_path)) as again, valkey.asyncio.from_url(again.url()) as client:
        assert await client.xlen("stream") == 100


async def test_it_syncs_every_write_and_never_evicts(tmp_path):
    async with open_valkey(a_config(tmp_path)) as server, valkey.asyncio.from_url(server.url()) as client:
        settings = await client.config_get("appendfsync", "appendonly", "maxmemory-policy")

    assert settings == {"appendfsync": "always", "appendonly": "yes", "maxmemory-policy": "noeviction"}


async def test_without_the_password_nobody_gets_in(valkey_server):
    async with valkey.asyncio.Valkey(host=valkey_server.host, port=valkey_server.port) as client:
        with pytest.raises(valkey.exceptions.AuthenticationError):
            await client.ping()


async def test_only_its_user_can_read_the_password(tmp_path):
    async with open_valkey(a_config(tmp_path)) as server:
        pass

    for name in ("password", "valkey.conf"):
        assert server.password in (tmp_path / name).read_text()
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


async def test_two_servers_that_want_one_port_both_run(tmp_path):
    async with (
        open_valkey(a_config(tmp_path / "one")) as one,
        open_valkey(a_config(tmp_path / "two", port=one.port)) as two,
    ):
        assert one.port != two.port


async def test_a_path_with_spaces_and_quotes_is_no_obstacle(tmp_path):
    async with open_valkey(a_config(tmp_path / "a \"b' c")) as server:
        assert server.process.is_running


async def test_many_at_once_get_a_server_each(tmp_path):
    async def start(number):
        config = a_config(tmp_path / str(number))
        async with open_valkey(config) as server, valkey.asyncio.from_url(server.url()) as client:
            return server.process.pid == (await client.info("server"))["process_id"]

    assert all(await asyncio.gather(*(start(number) for number in range(6))))
