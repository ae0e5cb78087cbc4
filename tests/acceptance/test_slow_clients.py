"""Two thousand clients that are slow, endless or silent take no service off the air, and no memory of it."""

import asyncio
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
import yaml

from acceptance.conftest import BIN
from kubernaut.datastorage.config import DatabaseConfig
from support.alerts import a_webhook, an_alert
from support.eventually import eventually
from support.ledger_events import a_body, a_wire_event

SLOW_CLIENTS = Path(__file__).with_name("slow_clients.py")
CONNECTIONS = 2000
MAX_GROWTH = 30 * 2**20
MAX_LATENCY = 10.0
"""Seconds for one request of a normal client; the machine may be busy with other tests."""

LIMITS = {"headerTimeout": "2s", "bodyTimeout": "2s", "writeTimeout": "2s", "keepAliveTimeout": "2s"}
JSON = {"content-type": "application/json"}


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service as a process, and the request of a normal client."""

    process: psutil.Process
    address: tuple[str, int]
    method: str
    path: str
    status: int
    body: bytes = b""

    def memory(self) -> int:
        return self.process.memory_info().rss

    async def request(self, http: httpx2.AsyncClient) -> float:
        """Seconds until the answer."""
        started = time.perf_counter()
        response = await http.request(self.method, self.path, content=self.body, headers=JSON)
        assert response.status_code == self.status, response.text
        return time.perf_counter() - started

    @asynccontextmanager
    async def attacked(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """The slow clients, in a process of their own; it ends when the service has closed all connections."""
        host, port = self.address
        command = [sys.executable, SLOW_CLIENTS, host, port, CONNECTIONS, self.method, self.path]
        process = await asyncio.create_subprocess_exec(*map(str, command))
        try:
            async with asyncio.timeout(60):
                yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url="http://{}:{}".format(*self.address), timeout=MAX_LATENCY)


@asynccontextmanager
async def running(command: str, config: dict[str, Any], folder: Path, **request: Any) -> AsyncIterator[Service]:
    port_file, path = folder / "port", folder / f"{command}.yaml"
    path.write_text(yaml.safe_dump(config))
    with (folder / f"{command}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            BIN / "kubernaut", command, "--config", path, stdout=log, stderr=log
        )
    try:

        def address() -> str:
            assert process.returncode is None, (folder / f"{command}.log").read_text()
            return port_file.read_text().strip() if port_file.exists() else ""

        host, _, port = (await eventually(address, timeout=60)).rpartition(":")
        service = Service(process=psutil.Process(process.pid), address=(host, int(port)), **request)
        async with service.client() as http:
            await eventually(partial(service.request, http), timeout=60)  # it may listen before it is ready
        yield service
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 30) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def datastorage(migrated_database: str, tmp_path: Path) -> AsyncIterator[Service]:
    database = DatabaseConfig.from_url(migrated_database)
    assert database.password is not None
    login = {name: getattr(database, name) for name in ("host", "port", "name", "user")}
    config = {
        "server": {**a_server(tmp_path), "endpointPropagationDelay": 0},
        "database": {**login, "password": database.password.reveal()},
    }
    events = [a_wire_event(event_id=None) for _ in range(10)]
    request = {"method": "POST", "path": "/api/v1/audit/events/batch", "body": a_body(*events), "status": 201}
    async with running("datastorage", config, tmp_path, **request) as service:
        yield service


@pytest.fixture
async def gateway(kubernetes_with_crds: Path, tmp_path: Path) -> AsyncIterator[Service]:
    config = {
        "kubeconfig": str(kubernetes_with_crds),
        "server": a_server(tmp_path),
        "intake": {"namespace": "default"},
        "datastorage": an_absent_store(tmp_path),
    }
    body = httpx2.Request("POST", "http://x", json=a_webhook(an_alert("Watchdog"))).content
    request = {"method": "POST", "path": "/api/v1/signals/prometheus", "body": body, "status": 200}
    async with running("gateway", config, tmp_path, **request) as service:
        yield service


@pytest.fixture
async def controller(kubernetes_with_crds: Path, tmp_path: Path) -> AsyncIterator[Service]:
    config = {
        "kubeconfig": str(kubernetes_with_crds),
        "controller": {
            "healthProbeAddr": "127.0.0.1:0",
            "metricsAddr": "127.0.0.1:0",
            "portFile": str(tmp_path / "port"),
            "namespace": "default",
            "httpLimits": LIMITS,
        },
        "classifier": {"policyDir": None, "signalModes": None},
        "datastorage": an_absent_store(tmp_path),
    }
    request = {"method": "GET", "path": "/livez", "status": 200}
    async with running("controller", config, tmp_path, **request) as service:
        yield service


def a_server(folder: Path) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": 0, "portFile": str(folder / "port"), "httpLimits": LIMITS}


def an_absent_store(folder: Path) -> dict[str, Any]:
    return {"url": "http://127.0.0.1:9", "spoolDir": str(folder / "spool"), "drainTimeout": 0}


async def test_datastorage_goes_on_serving_beside_slow_clients(datastorage: Service):
    await assert_serves_beside_slow_clients(datastorage)


async def test_gateway_goes_on_serving_beside_slow_clients(gateway: Service):
    await assert_serves_beside_slow_clients(gateway)


async def test_controller_goes_on_serving_beside_slow_clients(controller: Service):
    await assert_serves_beside_slow_clients(controller)


async def assert_serves_beside_slow_clients(service: Service) -> None:
    async with service.client() as kept:
        for _ in range(30):
            await service.request(kept)
        before = peak = service.memory()
        latencies = []
        async with service.attacked() as attack:
            while attack.returncode is None:
                latencies.append(await service.request(kept))
                async with service.client() as fresh:
                    latencies.append(await service.request(fresh))
                peak = max(peak, service.memory())

        await eventually(partial(connections_are_gone, kept))
        rejected = samples((await kept.get("/metrics")).text, "kubernaut_http_requests_rejected_total")

    print(f"slowest answer {max(latencies):.2f} s of {len(latencies)}; memory +{(peak - before) / 2**20:.1f} MiB")
    assert attack.returncode == 0
    assert max(latencies) < MAX_LATENCY
    assert peak - before < MAX_GROWTH
    assert sum(rejected) > CONNECTIONS / 4  # the silent ones have requested nothing


async def connections_are_gone(http: httpx2.AsyncClient) -> bool:
    """All but the one that asks."""
    return samples((await http.get("/metrics")).text, "kubernaut_http_connections") == [1]


def samples(metrics: str, name: str) -> list[float]:
    pattern = rf"^{name}(?:{{.*}})? (.+)$"
    return [float(value) for value in re.findall(pattern, metrics, re.MULTILINE)]
