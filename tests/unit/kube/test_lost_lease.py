"""A leader that cannot renew its lease, and errors of an election."""

import asyncio
import json
from pathlib import Path

from kubernaut.kube.client import ClientConfig, open_client
from kubernaut.kube.election import Election, ElectionConfig
from kubernaut.kube.objects import Key
from support.eventually import eventually
from support.logs import capture_logs
from support.scripted_api import Call, open_scripted_api

CONFIG = ElectionConfig(
    key=Key("home", "leader"), identity="me", lease_duration=30.0, renew_deadline=0.3, retry_interval=0.05
)


class LeaseServer:
    """One lease, as long as the server answers."""

    def __init__(self) -> None:
        self.is_down = False
        self.version = 0
        self.spec: dict = {}

    async def __call__(self, call: Call) -> None:
        if self.is_down:
            return call.abort()
        if call.method == "GET" and not self.version:
            return await call.reject(404, "NotFound")
        if call.method != "GET":
            self.version += 1
            self.spec |= json.loads(call.body)["spec"]
        metadata = {"name": "leader", "namespace": "home", "resourceVersion": str(self.version)}
        return await call.respond({"metadata": metadata, "spec": self.spec})


async def test_leader_that_cannot_renew_stops_before_its_lease_ends_and_leads_again(tmp_path: Path):
    server, leading = LeaseServer(), asyncio.Event()

    async def lead() -> None:
        leading.set()
        try:
            await asyncio.Event().wait()
        finally:
            leading.clear()

    async with (
        open_scripted_api(server, tmp_path) as kubeconfig,
        open_client(ClientConfig(kubeconfig=kubeconfig, timeout=1.0)) as client,
    ):
        election = Election(client, CONFIG)
        with capture_logs() as logs:
            running = asyncio.ensure_future(election.run(lead))
            await eventually(leading.is_set)
            server.is_down = True
            await eventually(lambda: not leading.is_set())
            assert not election.is_leader
            server.is_down = False
            await eventually(leading.is_set)
            running.cancel()
            await asyncio.wait([running])

    events = [line["event"] for line in logs if line["log_level"] in ("warning", "error")]
    assert "lease lost, standing by" in events
    assert events.count("failed to renew lease, retrying") <= 1
    assert server.spec["holderIdentity"] == ""
