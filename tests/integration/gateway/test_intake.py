"""Alerts in, objects out, on a real API server."""

import asyncio
import hashlib
import json
from datetime import UTC, datetime

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from kubernaut.api.meta import ObjectMeta
from kubernaut.api.signals import ParentReference, SignalProcessing
from kubernaut.api.vocabulary import Label
from kubernaut.audit import AuditConfig, SpoolConfig, open_audit
from kubernaut.audit import ClientConfig as StoreConfig
from kubernaut.gateway import request_store
from kubernaut.gateway.audit_recorder import AuditRecorder
from kubernaut.gateway.cluster import ClusterReader
from kubernaut.gateway.config import ClusterConfig, IntakeConfig
from kubernaut.gateway.decoder import decode
from kubernaut.gateway.folding import FoldBy
from kubernaut.gateway.heartbeats import Heartbeats
from kubernaut.gateway.intake import Intake
from kubernaut.gateway.mapped_alert import MappedAlert
from kubernaut.gateway.request_store import RequestStore
from kubernaut.gateway.requests import REQUESTS, SIGNALS, fold_key_of, new_request, signal_name_of
from kubernaut.gateway.signals import SignalMapper
from kubernaut.kube.discovery import Discovery
from kubernaut.kube.objects import Key
from support.alerts import a_webhook, an_alert, over
from support.audit import FakeDataStorage
from support.eventually import eventually
from support.signals import a_signal

pytestmark = pytest.mark.kubernetes


def types(store: FakeDataStorage) -> list[str]:
    return [event.event_type for event in store.stored.values()]


async def test_an_alert_becomes_a_request_and_its_signal(cluster, gateway, store):
    await cluster.deployment("cart")
    await cluster.pod("cart-7d4b-x2x9p", "cart")

    answer = await gateway.post(an_alert(namespace=cluster.shop, pod="cart-7d4b-x2x9p"))

    request = await cluster.only()
    (signal,) = await cluster.signals()
    body = answer.json()
    fingerprint = hashlib.sha256(f"{cluster.shop}:Deployment:cart".encode()).hexdigest()
    assert answer.status_code == 201
    assert (body["status"], body["fingerprint"]) == ("created", fingerprint)
    assert body["remediationRequestName"] == request.metadata.name
    assert body["metadata"]["count"] == 1
    assert request.metadata.name.startswith(f"rr-{fingerprint[:12]}-")
    assert request.metadata.labels["app.kubernetes.io/managed-by"] == "gateway-service"
    assert request.spec.signal_fingerprint == fingerprint
    assert signal.metadata.name == f"sp-{request.metadata.name}"
    assert signal.metadata.owner_references[0].uid == request.metadata.uid
    assert signal.spec.remediation_request_ref.uid == request.metadata.uid
    about = signal.spec.signal
    assert (about.name, about.severity, about.type, about.source) == (
        "KubePodCrashLooping",
        "critical",
        "alert",
        "prometheus",
    )
    assert (about.target_resource.kind, about.target_resource.name) == ("Pod", "cart-7d4b-x2x9p")
    await eventually(lambda: types(store) == ["gateway.signal.received"])


async def test_repeats_are_deduplicated_and_counted(cluster, gateway, store):
    await cluster.deployment("cart")
    alert = an_alert(namespace=cluster.shop, deployment="cart")

    answers = [await gateway.post(alert) for _ in range(3)]
    other = await gateway.post(an_alert(namespace=cluster.shop, deployment="cart", replica="b", severity="warning"))

    assert [answer.status_code for answer in answers] == [201, 202, 202]
    assert (other.status_code, other.json()["duplicate"]) == (202, True)
    deduplication = (await cluster.only()).status.deduplication
    assert deduplication.occurrence_count == 2
    assert deduplication.first_seen_at < deduplication.last_seen_at
    assert len(await cluster.signals()) == 1
    await eventually(lambda: len(store.stored) == 2)
    assert types(store) == ["gateway.signal.received", "gateway.signal.deduplicated"]
    folded = msgspec.json.decode([*store.stored.values()][1].event_data)
    assert (folded["severity"], folded["signal_labels"]["replica"], folded["occurrence_count"]) == ("warning", "b", 2)
    assert {event.correlation_id for event in store.stored.values()} == {(await cluster.only()).metadata.name}


async def test_a_signal_shows_how_many_occurrences_were_counted_on_it(cluster, gateway):
    await cluster.deployment("cart")
    alerts = [an_alert(namespace=cluster.shop, deployment="cart", replica=name) for name in "abcd"]

    shown = []
    for group in (alerts[:2], alerts[:2], alerts[:3], [over(alerts[0])], [*alerts, alerts[0]]):
        await gateway.post(*group)
        (signal,) = await cluster.signals()
        shown.append(signal.metadata.annotations[Label.OCCURRENCES])
        before = signal.metadata.resource_version
    await gateway.post(*alerts)
    (signal,) = await cluster.signals()

    assert shown == ["2", "2", "3", "3", "5"]
    assert signal.metadata.resource_version == before  # a repeat costs no write


async def test_a_signal_of_an_orchestrator_shows_what_was_counted_too(cluster, opened):
    await cluster.deployment("cart")
    alerts = [an_alert(namespace=cluster.shop, deployment="cart", replica=name) for name in "ab"]
    async with opened(create_parents=False) as gateway:
        answers = [await gateway.post(alerts[0])]
        request = await cluster.only()
        parent = ParentReference(name=request.metadata.name)
        spec = msgspec.structs.replace(a_signal().spec, remediation_request_ref=parent)
        metadata = ObjectMeta(name=signal_name_of(request), namespace=cluster.home)
        await cluster.client.create(SIGNALS, SignalProcessing(metadata=metadata, spec=spec))

        answers.append(await gateway.post(*alerts))

    (signal,) = await cluster.signals()
    assert [answer.status_code for answer in answers] == [201, 207]
    assert signal.metadata.annotations == {Label.OCCURRENCES: "2"}


async def test_a_group_of_alerts_has_a_result_for_each(cluster, gateway):
    await cluster.deployment("cart")
    await cluster.deployment("search")

    answer = await gateway.post(
        an_alert("A", namespace=cluster.shop, deployment="cart"),
        an_alert("B", namespace=cluster.shop, deployment="search"),
        an_alert("A", namespace=cluster.shop, deployment="cart", replica="b"),
        an_alert("Elsewhere"),
        an_alert("Watchdog"),
        an_alert("D", resolved=True, namespace=cluster.shop, deployment="nothing"),
    )

    body = answer.json()
    assert answer.status_code == 207
    assert [result["status"] for result in body["results"]] == [
        "created",
        "created",
        "duplicate",
        "rejected",
        "ignored",
        "resolved",
    ]
    assert body["summary"] == {
        "total": 6,
        "created": 2,
        "deduplicated": 1,
        "resolved": 1,
        "rejected": 1,
        "ignored": 1,
        "failed": 0,
    }
    assert "namespace" in body["results"][3]["error"]
    assert len(await cluster.requests()) == 2


async def test_resolved_never_opens_a_signal(cluster, gateway):
    await cluster.deployment("cart")

    answer = await gateway.post(an_alert(resolved=True, namespace=cluster.shop, deployment="cart"))

    assert (answer.status_code, answer.json()["status"]) == (200, "resolved")
    assert await cluster.requests() == []
    assert await cluster.signals() == []


async def test_the_last_resolved_alert_resolves_the_request_and_the_next_one_opens_another(cluster, gateway, store):
    await cluster.deployment("cart")
    first = an_alert("A", namespace=cluster.shop, deployment="cart")
    second = an_alert("A", namespace=cluster.shop, deployment="cart", replica="b")
    await gateway.post(first, second)

    await gateway.post(over(first))
    assert Label.RESOLVED_AT not in (await cluster.only()).metadata.annotations
    done = over(second)
    await gateway.post(done)
    ended = await cluster.only()
    (signal,) = await cluster.signals()
    assert Label.RESOLVED_AT in ended.metadata.annotations
    assert signal.metadata.annotations[Label.RESOLVED_AT] == ended.metadata.annotations[Label.RESOLVED_AT]
    assert ended.status.deduplication.firing == []

    again = await gateway.post(done)
    assert again.status_code == 200
    reopened = await gateway.post(first)

    assert reopened.status_code == 201
    assert len(await cluster.requests()) == 2
    await eventually(lambda: types(store).count("gateway.signal.received") == 2)
    assert [event.event_action for event in store.stored.values()].count("resolved") == 2


async def test_a_more_severe_alert_opens_a_signal_that_supersedes(cluster, gateway, store):
    await cluster.deployment("cart")
    labels = {"namespace": cluster.shop, "deployment": "cart"}
    warning, critical = an_alert("A", **labels, severity="warning"), an_alert("A", **labels)

    answers = [await gateway.post(*alerts) for alerts in ([warning], [critical], [warning, critical], [warning])]

    first, second = sorted(await cluster.requests(), key=lambda request: request.spec.severity, reverse=True)
    assert [answer.status_code for answer in answers] == [201, 201, 207, 202]
    assert (first.spec.severity, second.spec.severity) == ("warning", "critical")
    assert second.metadata.annotations["kubernaut.ai/supersedes"] == first.metadata.name
    assert first.metadata.annotations["kubernaut.ai/superseded-by"] == second.metadata.name
    assert [request.status.deduplication.occurrence_count for request in (first, second)] == [1, 1]
    signals = {signal.metadata.name: signal.metadata.annotations for signal in await cluster.signals()}
    counted = {"kubernaut.ai/occurrences": "1"}
    assert signals[f"sp-{second.metadata.name}"] == counted | {"kubernaut.ai/supersedes": first.metadata.name}
    assert signals[f"sp-{first.metadata.name}"] == counted | {"kubernaut.ai/superseded-by": second.metadata.name}

    await gateway.post(over(warning), over(critical))
    assert all(Label.RESOLVED_AT in request.metadata.annotations for request in await cluster.requests())
    assert (await gateway.post(warning)).status_code == 201


async def test_alerts_of_two_names_are_two_signals_unless_they_fold_by_workload(cluster, opened):
    await cluster.deployment("cart")
    alerts = [an_alert(name, namespace=cluster.shop, deployment="cart") for name in ("A", "B")]

    async with opened() as gateway:
        await gateway.post(*alerts)
    assert len(await cluster.requests()) == 2
    await cluster.deployment("search")
    async with opened(fold_by=FoldBy.WORKLOAD) as gateway:
        await gateway.post(*(an_alert(name, namespace=cluster.shop, deployment="search") for name in ("A", "B")))

    assert len(await cluster.requests()) == 3
    assert len({request.spec.signal_fingerprint for request in await cluster.requests()}) == 2


async def test_an_alert_is_deduplicated_and_resolved_after_its_pod_was_deleted(cluster, opened):
    """What the alert was about is written on the request, for a pod that crashes does not wait for the repeat."""
    await cluster.deployment("cart")
    await cluster.pod("cart-7d4b-aaaaa", "cart")
    alert = an_alert(namespace=cluster.shop, pod="cart-7d4b-aaaaa")
    async with opened() as gateway:
        assert (await gateway.post(alert)).status_code == 201
    await cluster.delete("Pod", "cart-7d4b-aaaaa")
    await eventually(lambda: gone(cluster, "Pod", "cart-7d4b-aaaaa"))

    async with opened() as restarted:  # it has no tombstone of the pod
        assert (await restarted.post(alert)).status_code == 202
        assert (await restarted.post(over(alert))).status_code == 200

    assert Label.RESOLVED_AT in (await cluster.only()).metadata.annotations


async def gone(cluster, kind, name):
    await cluster.gone(kind, name)
    return True


async def test_a_pod_that_was_just_deleted_still_finds_its_workload(cluster, gateway):
    await cluster.deployment("cart")
    await cluster.pod("cart-7d4b-bbbbb", "cart")
    # The cache must have observed the pod before it can keep a tombstone.
    await gateway.post(an_alert("Late", namespace=cluster.shop, pod="cart-7d4b-bbbbb", replica="b"))
    await cluster.delete("Pod", "cart-7d4b-bbbbb")
    await eventually(lambda: gone(cluster, "Pod", "cart-7d4b-bbbbb"))

    answer = await gateway.post(an_alert("Late", namespace=cluster.shop, pod="cart-7d4b-bbbbb"))

    assert (answer.status_code, answer.json()["duplicate"]) == (202, True)
    assert len(await cluster.requests()) == 1


async def test_an_unknown_pod_is_its_own_target(cluster, gateway):
    answer = await gateway.post(an_alert(namespace=cluster.shop, pod="cron-28411-gone"))

    (signal,) = await cluster.signals()
    assert answer.status_code == 201
    assert signal.spec.signal.target_resource.name == "cron-28411-gone"
    expected = hashlib.sha256(f"{cluster.shop}:Pod:cron-28411-gone".encode()).hexdigest()
    assert signal.spec.signal.fingerprint == expected


async def test_two_gateways_make_one_signal(cluster, opened):
    await cluster.deployment("cart")
    alerts = [an_alert("A", namespace=cluster.shop, deployment="cart", replica=str(number)) for number in range(4)]

    async with opened() as one, opened() as two:
        answers = await asyncio.gather(*(gateway.post(alert) for alert in alerts for gateway in (one, two)))

    assert sorted(answer.status_code for answer in answers) == [201] + [202] * 7
    assert len(await cluster.signals()) == 1
    assert (await cluster.only()).status.deduplication.occurrence_count == 4


async def test_a_gateway_with_an_empty_cache_finds_the_open_request(cluster, gateway, store, tmp_path):
    """However far a cache lags behind: the names lead from one request to the next, and the open one is the last."""
    hour = datetime.now(UTC).hour
    await cluster.deployment("cart")
    alert = an_alert(namespace=cluster.shop, deployment="cart")
    for notice in (alert, over(alert), alert, over(alert), alert):
        await gateway.post(notice)
    config = AuditConfig(spool=SpoolConfig(directory=tmp_path / "blind"), client=StoreConfig(url=store.url))
    discovery = Discovery(cluster.client)
    cache = request_store.new_cache(cluster.client, cluster.home)  # it never runs
    requests = RequestStore(cluster.client, cache, IntakeConfig(namespace=cluster.home))
    mapper = SignalMapper(ClusterReader(cluster.client, discovery, []), requests, ClusterConfig(), IntakeConfig())
    async with open_audit(config, "blind") as audit:
        heartbeats = Heartbeats((), CollectorRegistry())
        intake = Intake(mapper, requests, AuditRecorder(audit, max_remembered=10), heartbeats)
        (result,) = await intake.process(decode(json.dumps(a_webhook(alert)).encode()), 8.0)

    if datetime.now(UTC).hour != hour:
        pytest.skip("the hour, which the first name follows from, has changed")
    assert result.status == "duplicate"
    assert len(await cluster.requests()) == 3
    assert result.deduplication.occurrence_count == 1


async def test_the_name_of_a_deleted_request_is_not_used_again(cluster, gateway):
    await cluster.deployment("cart")
    alert = an_alert(namespace=cluster.shop, deployment="cart")
    names = []
    for _ in range(3):
        assert (await gateway.post(alert)).status_code == 201
        names.append((await cluster.only()).metadata.name)
        await cluster.client.delete(REQUESTS, Key(cluster.home, names[-1]))
        await eventually(lambda: _no_request(cluster))  # its signal may stay: not every server here collects garbage

    assert len(set(names)) == 3


async def _no_request(cluster):
    return not await cluster.requests()


async def test_a_crash_between_the_writes_is_repaired_by_the_next_delivery(cluster, opened, store):
    """A gateway that crashes after its first write leaves a request without a signal and without a count."""
    await cluster.deployment("cart")
    alert = an_alert(namespace=cluster.shop, deployment="cart")
    async with opened() as gateway:
        await gateway.post(alert)
    (signal,) = await cluster.signals()
    before = await cluster.only()
    where = Key(cluster.home, signal_name_of(before))
    await cluster.client.delete(SIGNALS, where)
    await cluster.client.patch(SIGNALS, where, {"metadata": {"finalizers": None}})  # no controller is there to do it
    await cluster.client.delete(REQUESTS, Key(cluster.home, before.metadata.name))
    await eventually(lambda: _none(cluster))
    mapped = MappedAlert(signal=signal.spec.signal, owner=before.spec.target_resource, fold_key=fold_key_of(before))
    orphan = await cluster.client.create(REQUESTS, new_request("rr-orphan", cluster.home, mapped))

    async with opened() as gateway:
        answer = await gateway.post(alert)

    (repaired,) = await cluster.signals()
    assert answer.status_code == 201
    assert repaired.spec.remediation_request_ref.uid == orphan.metadata.uid
    assert (await cluster.only()).status.deduplication.occurrence_count == 1


async def _none(cluster):
    return not await cluster.requests() and not await cluster.signals()


async def test_what_was_counted_but_not_recorded_is_recorded_by_the_next_gateway(cluster, opened, store):
    await cluster.deployment("cart")
    alert = an_alert(namespace=cluster.shop, deployment="cart")
    other = an_alert(namespace=cluster.shop, deployment="cart", replica="b")
    async with opened() as gateway:
        await gateway.post(alert, other)
    await eventually(lambda: len(store.stored) == 2)
    before = dict(store.stored)
    store.stored.clear()

    async with opened() as gateway:
        await eventually(lambda: len(store.stored) == 1)
        # The sender repeats what it got no response to, and only then is there what the second alert said.
        await gateway.post(alert, other)
        await eventually(lambda: len(store.stored) == 2)

    assert store.stored == before


async def test_a_request_times_out_when_no_alert_resolved_it(cluster, opened):
    await cluster.deployment("cart")
    alert = an_alert(namespace=cluster.shop, deployment="cart")
    async with opened() as gateway:
        await gateway.post(alert)
        request = await cluster.only()
        old = {"deduplication": {"lastSeenAt": "2020-01-01T00:00:00Z"}}
        await cluster.client.patch_status(REQUESTS, request, old)
        await eventually(lambda: gateway.is_ready())

        statuses = [await _until_created(gateway, alert)]

    assert statuses == [201]
    assert len(await cluster.requests()) == 2


async def _until_created(gateway, alert):
    return (await gateway.post(alert)).status_code


async def test_an_orchestrator_decides_when_its_request_is_closed(cluster, gateway):
    await cluster.deployment("cart")
    alert = an_alert(namespace=cluster.shop, deployment="cart")
    await gateway.post(alert)
    await cluster.client.patch_status(REQUESTS, await cluster.only(), {"overallPhase": "Executing"})
    await gateway.post(over(alert))

    assert (await gateway.post(alert)).status_code == 202
    assert Label.RESOLVED_AT not in (await cluster.only()).metadata.annotations
    await cluster.client.patch_status(REQUESTS, await cluster.only(), {"overallPhase": "Completed"})
    await eventually(lambda: _opens_another(gateway, cluster, alert))


async def _opens_another(gateway, cluster, alert):
    return (await gateway.post(alert)).status_code == 201


async def test_an_orchestrator_makes_the_signal_itself(cluster, opened):
    async with opened(create_parents=False) as gateway:
        assert (await gateway.post(an_alert(namespace=cluster.shop, pod="cart-1"))).status_code == 201

    assert len(await cluster.requests()) == 1
    assert await cluster.signals() == []
