"""A disk that is really full under the gateway's spool: nothing is acknowledged that could be lost."""

import pytest
from faults import disks

from support.alerts import an_alert
from support.audit import problem_response
from support.eventually import eventually

from .conftest import open_gateway

pytestmark = pytest.mark.kubernetes

SIZE = 8 * 2**20


@pytest.fixture
def disk(tmp_path):
    if not disks.can_mount(tmp_path):
        pytest.skip("a disk that can be filled is a tmpfs, and this user may not mount one; root may")
    with disks.mounted(tmp_path / "disk", SIZE) as mounted:
        yield mounted


def acknowledged(answers):
    return [
        result["remediationRequestName"]
        for answer in answers
        for result in answer.json()["results"]
        if result["status"] in ("created", "duplicate")
    ]


async def test_while_the_disk_is_full_alerts_are_sent_back_and_then_stored_without_a_restart(cluster, store, disk):
    store.respond = lambda events, body: problem_response(503)
    alerts = [an_alert("x" * 250, namespace=cluster.shop, pod=f"pod-{number}") for number in range(300)]
    spool = disk.path / "spool"
    async with open_gateway(cluster, store.url, spool, timeout=30.0) as gateway:
        answers = [await gateway.post(*alerts[:50])]
        with disk.filled():
            refused = [await gateway.post(*alerts[start : start + 50]) for start in range(50, 250, 50)]
            assert [answer.status_code for answer in refused] == [503] * 4
            assert acknowledged(refused) == []
            assert "cannot be written" in refused[-1].json()["results"][0]["error"]

        async def stored():
            answers.append(await gateway.post(*alerts[50:]))
            return answers[-1].status_code == 207

        await eventually(stored, timeout=30, interval=0.2)
        assert len(await cluster.requests()) == 300

    # It has delivered nothing: what it acknowledged is in the spool of the next gateway.
    store.respond = lambda events, body: None
    names = set(acknowledged([answers[0], answers[-1]]))
    assert len(names) == 300
    async with open_gateway(cluster, store.url, spool):
        await eventually(lambda: names <= {event.correlation_id for event in store.stored.values()}, timeout=60)
