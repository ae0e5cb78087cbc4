"""Several replicas, deletions, and what is left after the retention."""

import os
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kubernaut.api.signals import FINALIZER
from kubernaut.api.vocabulary import Phase
from kubernaut.kube.client import ListOptions
from kubernaut.kube.election import LEASE
from kubernaut.kube.objects import Key
from kubernaut.signalprocessing.kinds import REMEDIATION, SIGNAL
from kubernaut.signalprocessing.service import open_service
from support.eventually import eventually
from support.signals import a_namespace, a_signal, an_object, as_manifest


@pytest.fixture
async def shop(cluster) -> str:
    name = cluster.name("shop")
    service = an_object("Service", "api", name, spec={"ports": [{"port": 80}]})
    await cluster.create(a_namespace(name, "production"), service)
    return name


def a_service_signal(shop: str):
    return a_signal(kind="Service", target="api", at=shop)


def a_replica(configured, name: str, **settings):
    config = configured(name)
    return open_service(replace(config, controller=replace(config.controller, replicas=2, identity=name, **settings)))


async def test_second_replica_stands_by_and_takes_over_without_losing_or_doubling_an_event(
    cluster, configured, shop, store
):
    raised = [a_service_signal(shop) for _ in range(30)]
    async with AsyncExitStack() as second_stack:
        async with a_replica(configured, "first", lease_duration=600, retry_period=0.1) as first:
            await first.ready()
            second = await second_stack.enter_async_context(
                a_replica(configured, "second", lease_duration=600, retry_period=0.1)
            )
            keys = [await cluster.signal(each) for each in raised[:20]]
            await cluster.final(keys[3], timeout=30)
            assert not second.controller.started.is_set()
        # The first one has ended in the middle of its work; the second one need not wait for the lease to expire.
        keys += [await cluster.signal(each) for each in raised[20:]]
        done = [await cluster.final(key, timeout=30) for key in keys]
        assert second.election is not None
        assert second.election.is_leader
        for each in raised:
            await store.events(each.spec.remediation_request_ref.name, 9, timeout=30)

    assert {each.status.phase for each in done} == {Phase.COMPLETED}
    assert (await store.client.verify()).is_valid


async def test_leader_whose_writes_wait_for_their_limit_keeps_its_lease(cluster, configured, shop):
    limits = {"lease_duration": 2.5, "renew_deadline": 1.5, "retry_period": 0.1, "max_writes_per_second": 2}
    async with a_replica(configured, "first", **limits) as first:
        await first.ready()
        keys = [await cluster.signal(a_service_signal(shop)) for _ in range(12)]
        done = [await cluster.final(key, timeout=30) for key in keys]

        lease = await cluster.client.get(LEASE, Key(cluster.home, first.config.controller.leader_election_id))
    assert {each.status.phase for each in done} == {Phase.COMPLETED}
    assert (lease.spec.holder_identity, lease.spec.lease_transitions) == ("first", 0)


async def test_signal_deleted_while_no_controller_runs_leaves_its_audit_events(cluster, open_controller, shop, store):
    raised = a_service_signal(shop)
    manifest = as_manifest(raised)
    manifest["metadata"] |= {"namespace": cluster.home, "finalizers": [FINALIZER]}
    await cluster.client.create(SIGNAL, manifest)
    key = Key(cluster.home, raised.metadata.name)
    await cluster.client.delete(SIGNAL, key)

    async with open_controller():
        events = await store.events(raised.spec.remediation_request_ref.name, 4)

        async def is_gone() -> bool:
            return not (await cluster.client.list(SIGNAL, ListOptions(namespace=cluster.home))).items

        await eventually(is_gone)

    assert [event.event_action for event in events] == ["phase_transition", "error", "phase_transition", "processed"]
    assert events[-1].event_outcome == "failure"


@pytest.mark.skipif("KUBEBUILDER_ASSETS" in os.environ, reason="nothing collects garbage beside a bare API server")
async def test_ended_signals_and_their_requests_are_deleted_after_the_retention(cluster, configured, shop, store):
    fingerprint = "a" * 64
    labels = {"app.kubernetes.io/managed-by": "gateway-service"}
    requests = {}
    for name in ("rr-old", "rr-firing"):
        manifest = {
            "apiVersion": "kubernaut.ai/v1alpha1",
            "kind": "RemediationRequest",
            "metadata": {"name": name, "namespace": cluster.home, "labels": labels},
            "spec": {"signalName": "x", "signalFingerprint": fingerprint},
        }
        (requests[name],) = await cluster.create(manifest)
    ahead = datetime.now(UTC).replace(year=2100).isoformat()
    await cluster.patch(
        "RemediationRequest",
        Key(cluster.home, "rr-firing"),
        {"status": {"deduplication": {"lastSeenAt": ahead}}},
        "status",
    )
    raised = [a_signal(kind="Service", target="api", at=shop, parent=name) for name in requests]
    for each in raised:
        manifest = as_manifest(each)
        name = each.spec.remediation_request_ref.name
        owner = {"apiVersion": "kubernaut.ai/v1alpha1", "kind": "RemediationRequest", "name": name}
        owner["uid"] = requests[name]["metadata"]["uid"]
        manifest["metadata"] |= {
            "namespace": cluster.home,
            "finalizers": [FINALIZER],
            "ownerReferences": [owner | {"controller": True}],
        }
        await cluster.client.create(SIGNAL, manifest)
    config = configured()
    config = replace(config, controller=replace(config.controller, retention=1.0))

    async with open_service(config) as controller:
        await controller.ready()

        async def left() -> list[str]:
            found = []
            for kind in (SIGNAL, REMEDIATION):
                listing = await cluster.client.list(kind, ListOptions(namespace=cluster.home))
                found += sorted(each.metadata.name for each in listing.items)
            return found

        async def only_the_firing_one_is_left() -> bool:
            return await left() == ["sp-rr-firing", "rr-firing"]

        await eventually(only_the_firing_one_is_left)
        for each in raised:
            await store.events(each.spec.remediation_request_ref.name, 9, timeout=30)
        deleted = controller.registry.get_sample_value(
            "signalprocessing_retention_deleted_total", {"kind": "RemediationRequest"}
        )
    assert deleted == 1


async def test_nothing_is_deleted_while_datastorage_is_away(cluster, configured, shop):
    config = configured()
    config = replace(
        config,
        controller=replace(config.controller, retention=0.5),
        datastorage=replace(config.datastorage, url="http://127.0.0.1:9", drain_timeout=0.1),
    )
    async with open_service(config) as controller:
        await controller.ready()
        await cluster.completed(a_service_signal(shop))

        def one_waits() -> bool:
            return controller.registry.get_sample_value("signalprocessing_retention_waiting_signals") == 1

        await eventually(one_waits)
        assert len((await cluster.client.list(SIGNAL, ListOptions(namespace=cluster.home))).items) == 1
