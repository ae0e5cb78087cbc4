"""A finished signal leaves a whole running system as a signed CloudEvent, also when the receiver comes late."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from kubernaut.embedded.ports import free_port
from kubernaut.kube.client import ListOptions
from kubernaut.signalprocessing.kinds import SIGNAL
from support.alerts import a_webhook, an_alert
from support.eventually import eventually
from support.signals import a_namespace
from support.supervised_stack import HOME, NAMESPACES, ControllerOptions, SupervisedStack, open_supervised_stack

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.timeout(240),
    pytest.mark.skipif("KUBEBUILDER_ASSETS" in os.environ, reason="runs on the embedded API server"),
]

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLwSw"
RECEIVER = Path(__file__).resolve().parents[2] / "docs" / "examples" / "receiver.py"


@asynccontextmanager
async def the_documented_receiver(port: int) -> AsyncIterator[asyncio.StreamReader]:
    """The receiver of the how-to; what it prints, a line per event whose signature is right."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, RECEIVER, str(port), env={"SECRET": KEY}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.kill()
        await process.wait()


async def test_alerts_reach_a_receiver_that_was_away_also_by_a_controller_that_was_killed(own_directory, tmp_path):
    key = tmp_path / "key"
    key.write_text(KEY)
    port = free_port()
    receiver = {"url": f"http://127.0.0.1:{port}/", "secretFile": str(key)}
    sinks = [{"name": "pager", **receiver}, {"name": "nobody", "teams": ["nobody"], **receiver}]
    options = ControllerOptions(sections={"sinks": sinks, "sinkDir": str(tmp_path / "sinks")})
    async with open_supervised_stack(own_directory, durable=False, options=options) as stack:
        await stack.client.create(NAMESPACES, a_namespace("shop", "production"))
        alerts = [an_alert(f"Alert{number}", namespace="shop", severity="critical") for number in range(5)]
        async with httpx2.AsyncClient(trust_env=False, timeout=30) as http:
            stored = await http.post(stack.webhook, json=a_webhook(*alerts))
        assert [each["status"] for each in stored.json()["results"]] == ["created"] * 5, stored.text
        await eventually(lambda: decided(stack, 5), timeout=40)
        stack["controller"].kill()
        async with the_documented_receiver(port) as lines:
            received = [(await asyncio.wait_for(lines.readline(), 90)).decode().split() for _ in alerts]

    assert sorted(line[:4] for line in received) == [
        ["P0", "Production", f"Alert{number}", "Namespace/shop"] for number in range(5)
    ]


async def decided(stack: SupervisedStack, count: int) -> bool:
    listed = (await stack.client.list(SIGNAL, ListOptions(namespace=HOME))).items
    return sum(bool(each.status.phase and each.status.phase.is_final) for each in listed) == count
