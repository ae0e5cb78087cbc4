"""The services of a run of the suite: DataStorage on the run's PostgreSQL and Valkey, as a container or as a process.

They are started once, by the process that owns the run, and stopped once, after the last worker. A worker gets plain
data of them. What each has proven is a line that is printed once, when all of them are up and before the first spec.
"""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest
import valkey.asyncio
import yaml

import pytest_muster as muster
from kubernaut.audit.config import AuditConfig, ClientConfig, SpoolConfig
from kubernaut.audit.store import open_audit
from kubernaut.embedded.secret_files import ensure_signing_key, write_secret
from kubernaut.embedded.services import DataStorageFiles, datastorage
from kubernaut.embedded.valkey import ValkeyConfig, open_valkey
from support.audit import an_event
from support.services import SharedPostgres, SharedProcess, SharedValkey
from support.suite import container, preflight

READY = "SignalProcessing integration test environment ready!"
NEEDS_NEWER_KINDS = frozenset({"RH-08", "RH-09", "RE-06", "RE-07", "RX-05", "CO-02"})
"""Specs of PodDisruptionBudgets, autoscalers and CronJobs, besides those of detection."""
ORIGIN = "signalprocessing.test/ledger"


@muster.shared
def suite_preflight() -> dict[str, str]:
    """What must be there before anything is started. Raises PreflightError, which names what is missing."""
    command, policy = preflight.existing(preflight.COMMAND), preflight.existing(preflight.POLICY)
    image, reason = container.choose(os.environ)
    found = {"command": str(command), "policy": str(policy), "engine": "", "image": ""}
    if image is None:
        return found | {"runs": f"DataStorage runs as a process ({reason})"}
    return found | {
        "engine": image.engine,
        "image": image.name,
        "runs": f"DataStorage runs as a container ({reason})",
    }


@muster.shared(timeout=60)
async def suite_queue(muster_run: muster.Workspace, suite_preflight: dict[str, str]) -> AsyncIterator[dict[str, Any]]:
    """Valkey with an append-only file, as DataStorage wants its dead-letter queue."""
    config = ValkeyConfig(directory=muster_run.directory / "valkey", env=os.environ)
    async with open_valkey(config) as server:
        yield {"host": server.host, "port": server.port, "password": server.password, "pid": server.process.pid}


@muster.shared(timeout=60)
async def signalprocessing_datastorage_test(
    muster_run: muster.Workspace,
    suite_preflight: dict[str, str],
    postgres_server: dict[str, Any],
    migrated_template: str,
    suite_queue: dict[str, Any],
) -> AsyncIterator[dict[str, Any]]:
    """DataStorage as it runs in production, on a database of this run; healthy when it is handed out."""
    postgres, queue = _postgres(postgres_server), _valkey(suite_queue)
    database = await _new_database(postgres, muster_run.name("sp-audit"), migrated_template)
    folder = muster_run.directory / "datastorage"
    folder.mkdir()
    config = _configure(folder, muster_run.port(), postgres, database, queue)
    command, clean_up = _start(muster_run, suite_preflight, folder, config)
    process = muster_run.start(command, log="datastorage.log", env=_environment())
    url = preflight.address((folder / "url").read_text())
    await wait_until_healthy(muster_run, url)
    await _check_backends(postgres.url(database), queue.url(0))
    yield {
        "url": url,
        "pid": process.pid,
        "database": postgres.url(database),
        "proven": [
            "DataStorage is healthy (PostgreSQL + Redis ready)",
            "SignalProcessing Integration Infrastructure Ready",
        ],
    }
    process.stop()
    clean_up()


def _start(
    workspace: muster.Workspace, found: dict[str, str], folder: Path, config: Path
) -> tuple[Sequence[str | Path], Callable[[], None]]:
    """The command that starts DataStorage in the foreground, and what is to be done when it has ended."""
    if not found["engine"]:
        return command_of(found["command"], config), lambda: None
    image = container.Image(found["engine"], found["image"])
    name = f"{container.NAME}-{workspace.name()}"
    workspace.on_sweep(image.removal(name))
    command = image.start(name, folder, config)
    container.give(folder)
    return command, lambda: container.remove(image.engine, name)


def _configure(folder: Path, port: int, postgres: SharedPostgres, database: str, queue: SharedValkey) -> Path:
    """The configuration file of DataStorage, with its secrets in files beside it."""
    write_secret(folder / "database-password", database_password(postgres))
    write_secret(folder / "queue-password", queue.password)
    secrets = DataStorageFiles(
        database_password=folder / "database-password",
        queue_password=folder / "queue-password",
        key=ensure_signing_key(folder / "ledger.key", ORIGIN),
    )
    settings = datastorage(postgres, database, queue, secrets).settings(port, folder / "address")
    config = folder / "datastorage.yaml"
    config.write_text(yaml.safe_dump(settings))
    (folder / "url").write_text(f"http://{preflight.HOST}:{port}")
    return config


def command_of(command: str, config: Path) -> list[str | Path]:
    """How DataStorage is started in production."""
    return [command, "datastorage", "--config", config]


def database_password(postgres: SharedPostgres) -> str:
    """The one source of the password, for whoever connects."""
    return postgres.password


async def wait_until_healthy(workspace: muster.Workspace, url: str) -> None:
    """DataStorage answers 200, and goes on doing so: muster watches it from then on."""

    async def healthy() -> bool:
        async with httpx2.AsyncClient(trust_env=False, timeout=5) as http:
            return (await http.get(f"{url}/health")).status_code == 200

    await workspace.wait_until_async(healthy, timeout=30, description="DataStorage is healthy")


def _environment() -> dict[str, str]:
    # A variable such as KUBERNAUT_DATASTORAGE__SERVER__PORT would override the file.
    return {name: value for name, value in os.environ.items() if not name.startswith("KUBERNAUT_")}


@muster.shared(timeout=30)
async def suite_services(
    muster_run: muster.Workspace,
    signalprocessing_datastorage_test: dict[str, Any],
    postgres_server: dict[str, Any],
    suite_queue: dict[str, Any],
) -> dict[str, Any]:
    """All of the services answer, and an audit store delivers a first event to them."""
    pids = {
        "PostgreSQL": postgres_server["pid"],
        "Redis": suite_queue["pid"],
        "DataStorage": signalprocessing_datastorage_test["pid"],
    }
    for pid in pids.values():
        os.kill(pid, 0)
    await deliver_first_event(muster_run, signalprocessing_datastorage_test["url"])
    return {"pids": pids, "proven": ["All services started and healthy", "Audit store configured"]}


async def deliver_first_event(workspace: muster.Workspace, url: str) -> None:
    """An audit store as every service has it takes an event, and DataStorage has it."""
    config = AuditConfig(
        spool=SpoolConfig(directory=workspace.directory / "spool"), client=ClientConfig(url=url), flush_interval=0.01
    )
    async with open_audit(config, "signalprocessing-suite") as store:
        store.record([an_event(correlation=f"suite-{uuid4().hex}")])
        flushed = await store.flush(10)
    if not flushed.is_complete:
        raise RuntimeError(f"DataStorage did not take a first event: {flushed}")


async def _new_database(postgres: SharedPostgres, name: str, template: str) -> str:
    connection = await asyncpg.connect(postgres.url("postgres"), timeout=10)
    try:
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
    finally:
        await connection.close()
    return name


async def _check_backends(database: str, queue: str) -> None:
    """PostgreSQL and Valkey answer; raises with the one that does not."""
    connection = await asyncpg.connect(database, timeout=5)
    await connection.fetchval("SELECT 1")
    await connection.close()
    client = valkey.asyncio.from_url(queue)
    await client.ping()
    await client.aclose()


def _postgres(published: dict[str, Any]) -> SharedPostgres:
    place = {name: published[name] for name in ("host", "port", "user", "password")}
    return SharedPostgres(process=SharedProcess(pid=published["pid"]), **place)


def _valkey(published: dict[str, Any]) -> SharedValkey:
    place = {name: published[name] for name in ("host", "port", "password")}
    return SharedValkey(process=SharedProcess(pid=published["pid"]), **place)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what a kube-apiserver of 2021 cannot show; on every other server all specs run."""
    if "1.20" not in os.environ.get("KUBEBUILDER_ASSETS", ""):
        return
    for item in items:
        mark = item.get_closest_marker("spec")
        if mark is not None and (mark.args[0] in NEEDS_NEWER_KINDS or mark.args[0].startswith("CD-")):
            reason = "kube-apiserver 1.20 has neither policy/v1 nor autoscaling/v2 nor CronJob in batch/v1"
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_muster_shared_ready(config: pytest.Config, values: dict[str, Any]) -> None:
    """Print what the services have proven; the last line comes when nothing is missing any more."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if "suite_services" not in values or reporter is None:
        return
    reporter.write_line(values["suite_preflight"]["runs"])
    for name in ("signalprocessing_datastorage_test", "suite_services"):
        for line in values[name]["proven"]:
            reporter.write_line(f"✓ {line}")
    reporter.write_line(f"✓ {READY}")
