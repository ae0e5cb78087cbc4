"""Kubernetes Events on a real server."""

import pytest
from prometheus_client import CollectorRegistry

from kubernaut.kube.client import Client, ListOptions
from kubernaut.kube.events import RecorderConfig, open_recorder
from kubernaut.kube.metrics import KubeMetrics
from kubernaut.kube.objects import Key, Unstructured
from support.kinds import CONFIGMAP, EVENT, a_configmap

pytestmark = pytest.mark.kubernetes


async def events_in(client: Client, namespace: str) -> list[Unstructured]:
    return (await client.list(EVENT, ListOptions(namespace=namespace))).items


async def test_same_event_again_raises_its_count(client: Client, namespace: str):
    target = await client.create(CONFIGMAP, a_configmap(namespace, "a"))
    async with open_recorder(client, RecorderConfig(component="tester")) as recorder:
        for _ in range(3):
            recorder.record(CONFIGMAP, target, "Seen", "it is there", warning=True)
        assert await recorder.flush(10)
        recorder.record(CONFIGMAP, target, "Seen", "it is there", warning=True)
        recorder.record(CONFIGMAP, target, "Seen", "it is there")

    events = sorted(await events_in(client, namespace), key=lambda event: event["count"])

    assert [(event["type"], event["count"], event["message"]) for event in events] == [
        ("Normal", 1, "it is there"),
        ("Warning", 4, "it is there"),
    ]
    assert events[1]["involvedObject"]["uid"] == target.metadata.uid
    assert events[1]["source"] == {"component": "tester"}
    assert events[1]["lastTimestamp"] >= events[1]["firstTimestamp"]


async def test_event_that_expired_is_created_again(client: Client, namespace: str):
    target = await client.create(CONFIGMAP, a_configmap(namespace, "a"))
    async with open_recorder(client, RecorderConfig(component="tester")) as recorder:
        recorder.record(CONFIGMAP, target, "Seen", "it is there")
        assert await recorder.flush(10)
        (event,) = await events_in(client, namespace)
        await client.delete(EVENT, Key(namespace, event["metadata"]["name"]))
        recorder.record(CONFIGMAP, target, "Seen", "it is there")

    (again,) = await events_in(client, namespace)
    assert again["count"] == 1
    assert again["metadata"]["name"] != event["metadata"]["name"]


async def test_writes_per_object_are_rate_limited(client: Client, namespace: str):
    registry = CollectorRegistry()
    target = await client.create(CONFIGMAP, a_configmap(namespace, "a"))
    config = RecorderConfig(component="tester", burst=5)
    async with open_recorder(client, config, KubeMetrics(registry)) as recorder:
        for number in range(20):
            recorder.record(CONFIGMAP, target, "Seen", f"number {number}")

    assert len(await events_in(client, namespace)) == 5
    dropped = registry.get_sample_value("kubernaut_kubernetes_events_dropped_total", {"reason": "rate_limited"})
    assert dropped == 15
