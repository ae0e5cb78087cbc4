"""A storm of alerts, with the gateway or the API server killed in it: none lost, none counted twice, all ends known.

`STORM_SCALE=1` sends 3,600 alerts on as many targets, and 1,500 on one workload of which 1,000 end; the default is a
twentieth of that. Each test prints its seed; `FAULTS_SEED` repeats it.
"""

import asyncio
import json
import os
import random
import time

import httpx2
import pytest
from faults.floods import flood_of, open_flooded_stack, run_flood
from faults.storms import random_storm, run_storm

from kubernaut.api.vocabulary import Label
from kubernaut.gateway import occurrences
from kubernaut.gateway.requests import REQUESTS, SIGNALS
from kubernaut.kube.client import ListOptions
from kubernaut.kube.errors import KubeError
from support.alerts import a_webhook, an_alert, over
from support.eventually import eventually
from support.supervised_stack import HOME, open_supervised_stack

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.timeout(600),
    pytest.mark.skipif("KUBEBUILDER_ASSETS" in os.environ, reason="kills the embedded API server"),
]

SCALE = float(os.environ.get("STORM_SCALE") or 0.05)
TARGETS, ALERTS, ENDED = (round(number * SCALE) for number in (3_600, 1_500, 1_000))


@pytest.fixture
def rng():
    seed = int(os.environ.get("FAULTS_SEED") or random.SystemRandom().randrange(2**32))
    print(f"FAULTS_SEED={seed}")
    return random.Random(seed)


async def delivered(stack, *alerts):
    """Send a notification as an Alertmanager does: again until it is answered with 2xx. Returns the attempts."""
    attempts = 0
    content = json.dumps(a_webhook(*alerts))

    async def is_accepted():
        nonlocal attempts
        attempts += 1
        try:
            async with httpx2.AsyncClient(timeout=20) as http:
                answer = await http.post(stack.webhook, content=content, headers={"content-type": "application/json"})
        except httpx2.TransportError:
            return False
        assert answer.is_success or answer.status_code == 503, answer.text[:500]
        return answer.is_success

    await eventually(is_accepted, timeout=240, interval=0.2)
    return attempts


async def listed(stack, kind):
    found = []

    async def is_listed():
        try:
            found[:] = (await stack.client.list(kind, ListOptions(namespace=HOME))).items
        except KubeError:
            return False
        return True

    await eventually(is_listed, timeout=60)
    return found


async def killing(stack, name, rng):
    """Kill a component once some alerts are stored, and wait until it has been restarted."""
    wanted = rng.randrange(1, TARGETS)

    async def is_under_way():
        return len(await listed(stack, REQUESTS)) >= min(wanted, TARGETS // 2)

    await eventually(is_under_way, timeout=240, interval=0.5)
    stack[name].kill()
    await stack.all_up()


@pytest.mark.parametrize("victim", ["gateway", "apiserver"])
async def test_a_storm_is_stored_once_although_a_part_is_killed_in_it(own_directory, rng, victim):
    alerts = [an_alert(f"A{number % 7}", namespace="shop", pod=f"pod-{number}") for number in range(TARGETS)]
    async with open_supervised_stack(own_directory, durable=False) as stack:
        started = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(delivered(stack, *alerts))
            tasks.create_task(killing(stack, victim, rng))
        print(f"{TARGETS} alerts in {time.perf_counter() - started:.1f} s, {sending.result()} attempts")

        requests = await listed(stack, REQUESTS)
        signals = await listed(stack, SIGNALS)

    assert {request.spec.target_resource.name for request in requests} == {f"pod-{n}" for n in range(TARGETS)}
    assert [request.status.deduplication.occurrence_count for request in requests] == [1] * TARGETS
    assert len(signals) == TARGETS
    assert not any(Label.RESOLVED_AT in request.metadata.annotations for request in requests)


@pytest.mark.parametrize("victim", ["gateway", "apiserver"])
async def test_alerts_of_one_workload_are_counted_and_ended_once_each(own_directory, rng, victim):
    alerts = [an_alert("A", namespace="shop", deployment="cart", replica=str(number)) for number in range(ALERTS)]
    ended = rng.sample(alerts, ENDED)
    async with open_supervised_stack(own_directory, durable=False) as stack:
        for part in range(0, ALERTS, 40):
            if part >= ALERTS // 2 and stack[victim].is_up.is_set() and part < ALERTS // 2 + 40:
                stack[victim].kill()
            await delivered(stack, *alerts[part : part + 40])
        await stack.all_up()
        (request,) = await listed(stack, REQUESTS)
        assert request.status.deduplication.occurrence_count == ALERTS

        stack[victim].kill()
        await delivered(stack, *(over(alert) for alert in ended))
        (request,) = await listed(stack, REQUESTS)
        still_firing = occurrences.firing_of(request.status.deduplication)
        assert len(still_firing) == ALERTS - ENDED
        assert Label.RESOLVED_AT not in request.metadata.annotations

        await delivered(stack, *(over(alert) for alert in alerts if alert not in ended))
        (request,) = await listed(stack, REQUESTS)
        assert request.status.deduplication.occurrence_count == ALERTS
        assert Label.RESOLVED_AT in request.metadata.annotations


@pytest.mark.parametrize("first", [100, 110])
async def test_random_storms_leave_what_their_notifications_imply(own_directory, first):
    """Twenty storms of `make faults ARGS=gateway`, always the same ones."""
    async with open_supervised_stack(own_directory, durable=False) as stack:
        for seed in range(first, first + 10):
            storm = random_storm(seed)
            problems = await run_storm(storm, stack)
            assert problems == [], f"seed {seed}: {storm}"


async def test_a_shared_api_server_gets_a_bounded_number_of_writes_and_no_alert_is_lost(own_directory):
    """`make faults ARGS="gateway --alerts N"`, with few alerts; the gateway and the API server are killed in it."""
    async with open_flooded_stack(own_directory / "flood", seed=1) as (stack, proxy):
        assert await run_flood(flood_of(300, seed=1), stack, proxy, duration=1) == []
