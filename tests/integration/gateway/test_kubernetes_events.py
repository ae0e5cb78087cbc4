"""Events of Kubernetes in: posted one by one, or watched."""

import itertools
from datetime import UTC, datetime

import pytest

from kubernaut.gateway.config import KubernetesEventsConfig
from kubernaut.gateway.event_watch import CHECKPOINT, CONFIG_MAPS
from kubernaut.gateway.requests import REQUESTS
from kubernaut.gateway.signals import SignalMapper
from kubernaut.kube.errors import NotFound
from kubernaut.kube.objects import Key, Kind, Unstructured, key_of
from support.eventually import eventually

pytestmark = pytest.mark.kubernetes

PATH = "/api/v1/signals/kubernetes-event"
EVENT: Kind[Unstructured] = Kind(version="v1", kind="Event", plural="events", type=dict)
WARNINGS = KubernetesEventsConfig(types=("Warning",))
_numbers = itertools.count(1)


def an_event(
    namespace: str, name: str = "cart-7d4b-x2x9p", *, type: str = "Warning", reason: str = "BackOff"
) -> Unstructured:
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{name}.{next(_numbers)}", "namespace": namespace},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": name, "namespace": namespace},
        "reason": reason,
        "message": "Back-off restarting failed container",
        "type": type,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "source": {"component": "kubelet"},
    }


async def test_a_posted_event_becomes_a_signal_about_its_object(cluster, gateway):
    await cluster.deployment("cart")
    await cluster.pod("cart-7d4b-x2x9p", "cart")
    event = an_event(cluster.shop)

    answers = [await gateway.http.post(PATH, json=event), await gateway.http.post(PATH, json=event | {"count": 9})]

    (signal,) = await cluster.signals()
    about = signal.spec.signal
    assert [answer.status_code for answer in answers] == [201, 202]
    assert (about.name, about.severity, about.source) == ("BackOff", "Warning", "kubernetes-events")
    assert (about.target_resource.kind, about.target_resource.name) == ("Pod", "cart-7d4b-x2x9p")
    assert (await cluster.only()).spec.target_resource.kind == "Deployment"
    assert (await cluster.only()).status.deduplication.occurrence_count == 1


async def test_another_type_or_our_own_object_is_no_alert(cluster, gateway):
    own = an_event(cluster.shop)
    own["involvedObject"] = {"apiVersion": "kubernaut.ai/v1alpha1", "kind": "SignalProcessing", "name": "sp-1"}

    answers = [await gateway.http.post(PATH, json=event) for event in (an_event(cluster.shop, type="Normal"), own)]

    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(200, "rejected")] * 2
    assert await cluster.signals() == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"involvedObject": {"kind": "Pod"}}', b'{"reason": 1}'])
async def test_what_is_no_event_is_rejected(gateway, body):
    answer = await gateway.http.post(PATH, content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 400


async def test_watched_events_are_taken_in_once_across_a_restart(cluster, opened):
    create = cluster.client.create
    await create(EVENT, an_event(cluster.shop, "before-the-first-start"))
    async with opened(kubernetes_events=WARNINGS):
        await eventually(lambda: has_checkpoint(cluster))
        await create(EVENT, an_event(cluster.shop, "while-it-runs"))
        await create(EVENT, an_event(cluster.shop, "normal", type="Normal"))
        await eventually(lambda: names(cluster, {"while-it-runs"}))
    await create(EVENT, an_event(cluster.shop, "while-it-is-down"))
    resolved = {"metadata": {"annotations": {"kubernaut.ai/resolved-at": "2026-01-01T00:00:00Z"}}}
    for request in await cluster.requests():
        await cluster.client.patch(REQUESTS, key_of(request), resolved)

    async with opened(kubernetes_events=WARNINGS):
        await create(EVENT, an_event(cluster.shop, "after-the-restart"))
        await eventually(lambda: names(cluster, {"while-it-runs", "while-it-is-down", "after-the-restart"}))

    assert len(await cluster.requests()) == 3


async def test_a_watched_event_that_meets_a_defect_keeps_no_other_waiting(cluster, opened, monkeypatch):
    map_event = SignalMapper.map_event

    async def stumble(mapper, event, alert):
        if alert.name == "Odd":
            raise LookupError("a defect")
        return await map_event(mapper, event, alert)

    monkeypatch.setattr(SignalMapper, "map_event", stumble)
    async with opened(kubernetes_events=WARNINGS) as gateway:
        await eventually(lambda: has_checkpoint(cluster))
        await cluster.client.create(EVENT, an_event(cluster.shop, "odd", reason="Odd"))
        await cluster.client.create(EVENT, an_event(cluster.shop, "good"))
        await eventually(lambda: names(cluster, {"good"}))
        posted = await gateway.http.post(PATH, json=an_event(cluster.shop, "odd", reason="Odd"))

    assert posted.status_code == 503


async def has_checkpoint(cluster):
    try:
        return await cluster.client.get(CONFIG_MAPS, Key(cluster.home, CHECKPOINT))
    except NotFound:
        return None


async def names(cluster, expected):
    found = {request.spec.target_resource.name for request in await cluster.requests()}
    assert found == expected
    return True
