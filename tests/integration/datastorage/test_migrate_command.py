"""`kubernaut migrate`: what is pending is shown before anything is changed, and applied once."""

import asyncio
import sys
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import yaml

from kubernaut.datastorage.migrate import Stage, known

KUBERNAUT = (sys.executable, "-c", "from kubernaut.cli import main; main()")
NUMBER = len(known())


@pytest.fixture
def config(own_directory: Path, postgres_database: str) -> Path:
    parts = urlsplit(postgres_database)
    password = own_directory / "password"
    password.write_text(parts.password or "")
    where = {"host": parts.hostname, "port": parts.port, "name": parts.path.lstrip("/"), "user": parts.username}
    path = own_directory / "datastorage.yaml"
    path.write_text(yaml.safe_dump({"database": {**where, "passwordFile": str(password)}}))
    return path


async def run(config: Path, *arguments: str) -> tuple[int, list[str]]:
    process = await asyncio.create_subprocess_exec(
        *KUBERNAUT, "migrate", *arguments, "--config", str(config), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode().splitlines()


async def test_status_changes_nothing_and_says_what_is_pending(config: Path, postgres_database: str):
    code, lines = await run(config, "--status")

    assert code == 1
    assert lines[0].split() == ["VERSION", "STAGE", "NAME", "STATE"]
    assert [line.split()[-1] for line in lines[1:]] == ["pending"] * NUMBER
    connection = await asyncpg.connect(postgres_database)
    assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    await connection.close()


async def test_everything_is_applied_once_and_then_shown_as_applied(config: Path):
    first = await run(config)
    second = await run(config)
    code, lines = await run(config, "--status")

    assert first == (0, [f"applied {migration.name}" for migration in known()])
    assert second == (0, [])
    assert code == 0
    assert [line.split()[-1] for line in lines[1:]] == ["applied"] * NUMBER


async def test_first_stage_leaves_what_the_version_before_cannot_take(config: Path):
    await run(config, "--stage", "pre")
    code, lines = await run(config, "--status")

    states = {line.split()[1]: line.split()[-1] for line in lines[1:]}
    assert states[Stage.PRE] == "applied"
    assert states.get(Stage.POST, "pending") == "pending"
    assert code == (1 if Stage.POST in states else 0)


async def test_migrations_of_a_newer_version_are_shown(config: Path, postgres_database: str):
    await run(config)
    connection = await asyncpg.connect(postgres_database)
    await connection.execute(
        "INSERT INTO schema_migrations (version, name, checksum) VALUES (99999, 'later', repeat('0', 64))"
    )
    await connection.close()

    code, lines = await run(config, "--status")

    assert code == 0
    assert lines[-1].split() == ["99999", "-", "of", "a", "newer", "version", "applied"]
