"""PostgreSQL of our own: start, recovery, other users, foreign directories."""

import asyncio
import os
import signal
import stat
import subprocess
import sys

import asyncpg
import pytest

from kubernaut.embedded import binaries
from kubernaut.embedded.binaries import find_postgres, usable_by
from kubernaut.embedded.errors import EmbeddedError
from kubernaut.embedded.postgres import PostgresConfig, open_postgres
from support.eventually import eventually
from support.processes import is_gone, mentioning, script


def a_config(directory, **changes):
    return PostgresConfig(**{"directory": directory, "env": os.environ, "durable": False} | changes)


async def run(url, statement):
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetch(statement)
    finally:
        await connection.close()


async def tables(url):
    rows = await run(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    return [row["tablename"] for row in rows]


async def test_each_test_has_an_empty_database_of_its_own(new_database):
    first, second = await new_database(), await new_database()
    await run(first, "CREATE TABLE here (id int)")
    copy = await new_database(template=first)

    assert await tables(first) == ["here"]
    assert await tables(second) == []
    assert await tables(copy) == ["here"]


async def test_by_default_what_is_committed_is_on_disk(own_directory):
    async with open_postgres(a_config(own_directory, durable=True)) as server:
        settings = await run(
            server.url("postgres"),
            "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes')",
        )

    assert {row["setting"] for row in settings} == {"on"}


async def test_without_the_password_nobody_gets_in(postgres):
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(host=postgres.host, port=postgres.port, user=postgres.user, password="guess")


async def test_only_its_user_can_read_the_password(own_directory):
    async with open_postgres(a_config(own_directory)) as server:
        pass

    file = own_directory / "password"
    assert file.read_text().strip() == server.password
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_killed_server_recovers_at_the_next_start(own_directory):
    async with open_postgres(a_config(own_directory, durable=True)) as server:
        await run(server.url("postgres"), "CREATE TABLE kept (id int)")
        os.kill(server.process.pid, signal.SIGKILL)
        await server.process.wait()

    async with open_postgres(a_config(own_directory, durable=True)) as again:
        assert await tables(again.url("postgres")) == ["kept"]


OWNER = """
import asyncio, os, sys
from pathlib import Path
from kubernaut.embedded.postgres import PostgresConfig, open_postgres
async def own():
    async with open_postgres(PostgresConfig(directory=Path(sys.argv[1]), env=os.environ)) as server:
        print(server.process.pid, server.url("postgres"), flush=True)
        await asyncio.Event().wait()
asyncio.run(own())
"""


async def test_a_killed_owner_takes_the_server_along_and_the_next_one_recovers(own_directory):
    owner = await asyncio.create_subprocess_exec(*script(OWNER), str(own_directory), stdout=subprocess.PIPE)
    pid, url = (await owner.stdout.readline()).decode().split()
    await run(url, "CREATE TABLE kept (id int)")
    owner.kill()
    await owner.communicate()

    # Straight away: the old server may still be shutting down.
    async with open_postgres(a_config(own_directory, durable=True)) as again:
        assert is_gone(int(pid))
        assert await tables(again.url("postgres")) == ["kept"]
    await eventually(lambda: mentioning(str(own_directory)) == [], timeout=5)


async def test_a_lock_file_that_names_another_process_is_no_obstacle(own_directory):
    async with open_postgres(a_config(own_directory)):
        pass
    (own_directory / "data" / "postmaster.pid").write_text(f"{os.getppid()}\n{own_directory}/data\n")

    async with open_postgres(a_config(own_directory)) as again:
        assert again.process.is_running


async def test_an_incomplete_data_directory_is_created_again(own_directory):
    (own_directory / ".data-abc").mkdir()
    (own_directory / "data").mkdir()

    async with open_postgres(a_config(own_directory)) as server:
        assert await tables(server.url("postgres")) == []


async def test_foreign_data_is_rejected(own_directory):
    (own_directory / "data").mkdir()
    (own_directory / "data" / "thesis.txt").write_text("mine")

    with pytest.raises(EmbeddedError, match="is not the data directory of a PostgreSQL server"):
        async with open_postgres(a_config(own_directory)):
            pass


async def test_data_of_another_version_is_rejected_with_advice(own_directory):
    async with open_postgres(a_config(own_directory)):
        pass
    (own_directory / "data" / "PG_VERSION").write_text("9\n")

    with pytest.raises(EmbeddedError, match=r"was created by PostgreSQL 9, but .* set KUBERNAUT_PG_BIN"):
        async with open_postgres(a_config(own_directory)):
            pass


async def test_a_port_in_use_is_not_taken(own_directory):
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    async with server:
        wanted = server.sockets[0].getsockname()[1]
        async with open_postgres(a_config(own_directory, port=wanted)) as postgres:
            assert postgres.port != wanted


async def test_a_long_path_is_no_obstacle(own_directory):
    deep = own_directory / ("x" * 100) / ("y" * 100)
    deep.mkdir(parents=True)
    for part in (deep, deep.parent):
        part.chmod(0o755)

    async with open_postgres(a_config(deep)) as server:
        assert await tables(server.url("postgres")) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="about root")
async def test_a_directory_closed_to_nobody_is_rejected_with_advice(own_directory):
    closed = own_directory / "closed"
    closed.mkdir(mode=0o700)

    with pytest.raises(EmbeddedError, match=r"the user nobody cannot enter .*choose a directory that others may enter"):
        async with open_postgres(a_config(closed / "postgres")):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="about root")
async def test_programs_that_nobody_can_reach_are_copied(own_directory, monkeypatch):
    monkeypatch.setattr(binaries, "cache_directory", lambda env: own_directory / "cache")
    monkeypatch.setattr(binaries, "may_enter", lambda folder, user: False)
    copy = usable_by(find_postgres(os.environ), 65534, {})
    monkeypatch.undo()

    async with open_postgres(a_config(own_directory / "pg", env={"KUBERNAUT_PG_BIN": str(copy.folder)})) as server:
        assert copy.folder.is_relative_to(own_directory / "cache")
        assert await tables(server.url("postgres")) == []


UNPRIVILEGED = """
import asyncio, os, sys
from pathlib import Path
import asyncpg
from kubernaut.embedded.postgres import PostgresConfig, open_postgres
async def once(directory):
    config = PostgresConfig(directory=directory, env=os.environ, durable=False)
    async with open_postgres(config) as server:
        connection = await asyncpg.connect(server.url("postgres"))
        found = await connection.fetchval("SELECT 42")
        await connection.close()
        return found
# The first round loads every module: afterwards the interpreter itself may be out of reach.
asyncio.run(once(Path(sys.argv[1]) / "root"))
os.setgroups([]); os.setgid(65534); os.setuid(65534)
print(os.geteuid(), asyncio.run(once(Path(sys.argv[1]) / "user" / "pg")))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests show it when they run as an ordinary user")
async def test_an_ordinary_user_can_start_it(own_directory):
    programs = usable_by(find_postgres(os.environ), 65534, os.environ)
    (own_directory / "user").mkdir()
    os.chown(own_directory / "user", 65534, 65534)

    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", UNPRIVILEGED, str(own_directory)],
        env={**os.environ, "KUBERNAUT_PG_BIN": str(programs.folder), "HOME": str(own_directory / "user")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.stdout.split(), done.returncode) == (["65534", "42"], 0), done.stderr
