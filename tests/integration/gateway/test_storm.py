"""A storm of alerts leaves the API server in peace, and nothing of it is lost."""

import asyncio
import time

import pytest

from support.alerts import an_alert

from .conftest import open_gateway

pytestmark = pytest.mark.kubernetes

RATE = 40


async def test_writes_to_the_api_server_are_bounded_and_every_alert_is_stored_after_enough_deliveries(cluster, opened):
    alerts = [an_alert(namespace=cluster.shop, pod=f"pod-{number}") for number in range(60)]
    parts = [alerts[start : start + 20] for start in range(0, 60, 20)]

    async def deliver(gateway, number: int) -> int:
        """As an Alertmanager does: again after each 503."""
        for delivery in range(1, 30):
            answer = await gateway.post(*parts[number], groupKey=f"group-{number}")
            if answer.status_code == 207:
                return delivery
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
        raise AssertionError("never stored")

    async with opened(max_writes_per_second=RATE) as gateway:
        started = time.monotonic()
        deliveries = await asyncio.gather(*(deliver(gateway, number) for number in range(3)))
        seconds = time.monotonic() - started

    assert len(await cluster.requests()) == len(await cluster.signals()) == 60
    # Three writes each, and a burst of ten.
    assert seconds >= (3 * 60 - 10) / RATE
    assert sum(request.status.deduplication.occurrence_count for request in await cluster.requests()) >= 60
    assert max(deliveries) < 30


async def test_a_notification_that_takes_longer_than_one_delivery_makes_progress(cluster, store, tmp_path):
    alerts = [an_alert(namespace=cluster.shop, pod=f"pod-{number}") for number in range(60)]
    gone = []
    async with open_gateway(cluster, store.url, tmp_path / "spool", timeout=1.5, max_writes_per_second=RATE) as gateway:
        for _ in range(60):
            answer = await gateway.post(*alerts)
            results = [result["status"] for result in answer.json()["results"]]
            gone.append(results.count("failed"))
            if answer.status_code == 207:
                break

    assert gone == sorted(gone, reverse=True)
    assert gone[-1] == 0
    assert len(await cluster.requests()) == len(await cluster.signals()) == 60
    assert {request.status.deduplication.occurrence_count for request in await cluster.requests()} == {1}
