"""pocketkube's own promises: what it keeps over a restart and a kill, and how it shares a machine."""

import asyncio
import contextlib
import json
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from .eventually import eventually

COMMAND = [sys.executable, "-m", "pocketkube", "run", "--output", "json"]
MAPS = "/api/v1/namespaces/default/configmaps"


class ServerProcess:
    """One process of the server."""

    def __init__(self, process: asyncio.subprocess.Process, directory: Path) -> None:
        self.process = process
        self.port = int((directory / "port").read_text())
        remembered = directory / "token"
        token = remembered.read_text() if remembered.exists() else ""
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx2.AsyncClient(
            base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=10, verify=False
        )

    async def create(self, name: str) -> dict[str, Any]:
        made = await self.client.post(MAPS, json={"metadata": {"name": name}})
        assert made.status_code == 201, made.text
        content: dict[str, Any] = made.json()["metadata"]
        return content


@asynccontextmanager
async def running(directory: Path, *more: str) -> AsyncIterator[ServerProcess]:
    command = [*COMMAND, "--data", str(directory), *more]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), timeout=20)
        assert json.loads(line)["url"].startswith("http://127.0.0.1:")
        server = ServerProcess(process, directory)
        async with server.client:
            yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def test_restart_keeps_objects_port_and_token(tmp_path):
    async with running(tmp_path) as first:
        made = await first.create("a")
    async with running(tmp_path) as second:
        listed = (await second.client.get(MAPS)).json()

        assert second.port == first.port
        assert [item["metadata"] for item in listed["items"]] == [made]
        assert int(listed["metadata"]["resourceVersion"]) > int(made["resourceVersion"])


async def test_restart_ends_old_watches_with_gone(tmp_path):
    async with running(tmp_path) as first:
        made = await first.create("a")
    async with running(tmp_path) as second:
        params = {"watch": "true", "resourceVersion": made["resourceVersion"], "timeoutSeconds": "5"}
        answer = await second.client.get(MAPS, params=params)

    event = json.loads(answer.text)
    assert answer.status_code == 200
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")


async def test_restart_ends_old_pages_with_gone(tmp_path):
    async with running(tmp_path) as first:
        for name in "abc":
            await first.create(name)
        page = (await first.client.get(MAPS, params={"limit": 1})).json()
    async with running(tmp_path) as second:
        refused = await second.client.get(MAPS, params={"limit": 1, "continue": page["metadata"]["continue"]})

    assert (refused.status_code, refused.json()["reason"]) == (410, "Expired")


async def test_kill_loses_nothing_that_was_acknowledged(tmp_path):
    acknowledged: dict[str, int] = {}

    async def write(server: ServerProcess, worker: int) -> None:
        with contextlib.suppress(httpx2.TransportError):
            for number in range(10_000):
                made = await server.create(f"m-{worker}-{number}")
                acknowledged[made["name"]] = int(made["resourceVersion"])
                if len(acknowledged) == 60:
                    server.process.send_signal(signal.SIGKILL)

    async with running(tmp_path) as first:
        await asyncio.gather(*(write(first, worker) for worker in range(4)))
        await first.process.wait()
    async with running(tmp_path) as second:
        found = {
            item["metadata"]["name"]: int(item["metadata"]["resourceVersion"])
            for item in (await second.client.get(MAPS)).json()["items"]
        }
        after = await second.create("after")

    assert len(acknowledged) >= 60
    assert acknowledged.items() <= found.items()
    assert int(after["resourceVersion"]) > max(found.values())


async def test_custom_resources_are_served_after_a_restart(tmp_path):
    from .widgets import a_definition, a_widget

    group = "kept.test"
    path = f"/apis/{group}/v1/namespaces/default/widgets"
    async with running(tmp_path) as first:
        await first.client.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", json=a_definition(group))
        made = await first.client.post(path, json=a_widget(group))
        assert made.status_code == 201
    async with running(tmp_path) as second:
        assert (await second.client.get(f"{path}/w")).json() == made.json()
        assert (await second.client.post(path, json=a_widget(group, "x", color="green"))).status_code == 422


async def test_half_deleted_namespace_ends_after_a_restart(tmp_path):
    held = {"metadata": {"name": "a", "finalizers": ["example.test/hold"]}}
    async with running(tmp_path) as first:
        await first.client.post("/api/v1/namespaces", json={"metadata": {"name": "dying"}})
        await first.client.post("/api/v1/namespaces/dying/configmaps", json=held)
        await first.client.delete("/api/v1/namespaces/dying")
    async with running(tmp_path) as second:
        await second.client.patch(
            "/api/v1/namespaces/dying/configmaps/a",
            content='{"metadata":{"finalizers":null}}',
            headers={"Content-Type": "application/merge-patch+json"},
        )

        async def ended() -> bool:
            return (await second.client.get("/api/v1/namespaces/dying")).status_code == 404

        await eventually(ended)


async def test_second_server_on_the_same_directory_is_refused(tmp_path):
    async with running(tmp_path):
        command = [*COMMAND, "--data", str(tmp_path)]
        second = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        _, complaint = await asyncio.wait_for(second.communicate(), timeout=20)

    assert second.returncode == 3
    assert b"another API server is using" in complaint


async def test_taken_port_is_told(tmp_path):
    async with running(tmp_path / "one") as first:
        command = [*COMMAND, "--data", str(tmp_path / "two"), "--port", str(first.port)]
        second = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        _, complaint = await asyncio.wait_for(second.communicate(), timeout=20)

    assert second.returncode == 3
    assert b"in use" in complaint


async def test_kubeconfig_is_for_its_owner_only(tmp_path):
    path = tmp_path / "elsewhere" / "config"
    async with running(tmp_path / "data", "--kubeconfig", str(path), "--token", "secret"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert json.loads(path.read_text())["users"][0]["user"]["token"] == "secret"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
async def test_open_watches_do_not_hold_up_the_end(tmp_path, name):
    async with running(tmp_path) as server:
        params = {"watch": "true", "timeoutSeconds": "60"}
        async with server.client.stream("GET", MAPS, params=params) as answer:
            assert answer.status_code == 200
            server.process.send_signal(getattr(signal, name))
            with contextlib.suppress(httpx2.TransportError):
                async for _ in answer.aiter_lines():
                    pass

        assert await asyncio.wait_for(server.process.wait(), timeout=10) == 0
