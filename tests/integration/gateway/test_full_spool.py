"""An alert whose audit events would be lost is not acknowledged."""

import pytest

from support.alerts import an_alert
from support.audit import problem_response
from support.eventually import eventually

from .conftest import open_gateway

pytestmark = pytest.mark.kubernetes


async def test_while_the_spool_is_full_an_alert_is_sent_back_and_nothing_acknowledged_is_lost(cluster, store, tmp_path):
    store.respond = lambda events, body: problem_response(503)
    alerts = [an_alert("x" * 250, namespace=cluster.shop, pod=f"pod-{number}") for number in range(1500)]
    async with open_gateway(cluster, store.url, tmp_path / "spool", timeout=30.0, spool_max_size=2**20) as gateway:
        answers = [await gateway.post(*alerts[start : start + 100]) for start in range(0, 1500, 100)]

        assert [answer.status_code for answer in answers[:3]] == [207] * 3
        refused = answers[-1]
        assert (refused.status_code, refused.json()["summary"]["failed"]) == (503, 100)
        assert "is full" in refused.json()["results"][0]["error"]
        acknowledged = [
            result["remediationRequestName"]
            for answer in answers
            for result in answer.json()["results"]
            if result["status"] == "created"
        ]
        assert len(await cluster.requests()) == len(acknowledged) < 1500

        store.respond = lambda events, body: None

        async def stored() -> bool:
            return (await gateway.post(*alerts[-100:])).status_code == 207

        # After several failures, the audit client waits up to 30 s before it delivers again.
        await eventually(stored, timeout=60, interval=0.2)
        recorded = lambda: {event.correlation_id for event in store.stored.values()}  # noqa: E731
        await eventually(lambda: set(acknowledged) < recorded())
