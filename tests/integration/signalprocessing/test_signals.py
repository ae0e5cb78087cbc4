"""A signal from creation to its verified audit trail."""

import asyncio
from typing import Any

import msgspec
import pytest

from kubernaut.api.vocabulary import Environment, Phase, Priority
from kubernaut.kube.objects import Key, key_of
from kubernaut.signalprocessing.config import RecordedEvents
from support.eventually import eventually
from support.signals import a_namespace, a_signal, an_object, owned_by


async def a_shop(cluster: Any, environment: str = "production") -> str:
    """A namespace with a pod of a deployment in it; returns its name."""
    shop = cluster.name("shop")
    await cluster.create(a_namespace(shop, environment, **{"kubernaut.ai/team": "payments"}))
    pods = {"selector": {"matchLabels": {"app": "api"}}, "template": {"metadata": {"labels": {"app": "api"}}}}
    pods["template"]["spec"] = {"containers": [{"name": "api", "image": "api"}]}
    (deployment,) = await cluster.create(an_object("Deployment", "api", shop, spec=pods))
    (replica_set,) = await cluster.create(
        an_object("ReplicaSet", "api-7d", shop, owner=owned_by(deployment), spec=pods)
    )
    await cluster.create(
        an_object(
            "Pod",
            "api-7d-x",
            shop,
            owner=owned_by(replica_set),
            labels={"app": "api"},
            spec={"containers": [{"name": "api", "image": "api"}]},
        )
    )
    return shop


async def test_signal_is_completed_with_one_status_write_and_nine_events(cluster, controller, store):
    shop = await a_shop(cluster)
    signal = a_signal(at=shop)

    done = await cluster.completed(signal)
    events = await store.events(signal.spec.remediation_request_ref.name, 9)

    assert done.status.environment_classification.environment is Environment.PRODUCTION
    assert done.status.priority_assignment.priority is Priority.P0
    assert [hop.kind for hop in done.status.kubernetes_context.owner_chain] == ["ReplicaSet", "Deployment"]
    assert controller.registry.get_sample_value("signalprocessing_status_writes_total", {"result": "success"}) == 1
    assert [event.event_type.removeprefix("signalprocessing.") for event in events] == [
        "phase.transition",
        "phase.transition",
        "enrichment.completed",
        "phase.transition",
        "classification.decision",
        "phase.transition",
        "business.classified",
        "phase.transition",
        "signal.processed",
    ]
    moves = [msgspec.json.decode(event.event_data) for event in events if event.event_action == "phase_transition"]
    assert [move["to_phase"] for move in moves] == [phase.value for phase in Phase][:5]
    assert (await store.client.verify(signal.spec.remediation_request_ref.name)).is_valid


async def test_vanished_target_degrades_the_context_and_never_fails_the_signal(cluster, controller, kubernetes_events):
    shop = await a_shop(cluster, "staging")

    done = await cluster.completed(a_signal("warning", at=shop, target="gone"))

    assert done.status.kubernetes_context.degraded_mode
    assert done.status.kubernetes_context.workload is None
    assert done.status.environment_classification.environment is Environment.STAGING
    assert done.status.condition("EnrichmentComplete").reason == "DegradedMode"

    async def reasons() -> bool:
        found = [event["reason"] for event in await kubernetes_events(key_of(done))]
        return found == ["EnrichmentDegraded", "SignalProcessed"]

    await eventually(reasons)


async def test_vanished_namespace_degrades_too(cluster, controller):
    done = await cluster.completed(a_signal(at=cluster.name("nowhere")))

    assert done.status.kubernetes_context.degraded_mode
    assert done.status.environment_classification.environment is Environment.UNKNOWN


async def test_deleted_pod_is_remembered_by_its_last_state(cluster, controller):
    shop = await a_shop(cluster)
    await cluster.completed(a_signal(at=shop))
    await cluster.delete("Pod", Key(shop, "api-7d-x"))
    again = await cluster.completed(a_signal(at=shop))

    async def remembered() -> bool:
        done = await cluster.completed(a_signal(at=shop))
        return done.status.kubernetes_context.degraded_mode

    await eventually(remembered)
    again = await cluster.completed(a_signal(at=shop))
    assert again.status.kubernetes_context.workload.labels == {"app": "api"}
    assert [hop.kind for hop in again.status.kubernetes_context.owner_chain] == ["ReplicaSet", "Deployment"]
    assert again.status.kubernetes_context.degraded_mode


async def test_node_is_enriched_without_a_namespace(cluster, controller):
    name = cluster.name("node")
    await cluster.create(an_object("Node", name, "", labels={"zone": "a"}))

    async def enriched() -> bool:
        done = await cluster.completed(a_signal(kind="Node", target=name, at=""))
        return not done.status.kubernetes_context.degraded_mode

    await eventually(enriched)
    done = await cluster.completed(a_signal(kind="Node", target=name, at=""))
    assert done.status.kubernetes_context.workload.labels["zone"] == "a"
    assert done.status.kubernetes_context.namespace is None
    await cluster.delete("Node", Key("", name))


@pytest.mark.requirement("BR-SP-052")
@pytest.mark.requirement("LESSON-03")
async def test_mapping_decides_unlabelled_namespaces_and_an_edit_takes_effect(cluster, controller):
    shop = cluster.name("unlabelled")
    await cluster.create(a_namespace(shop))
    config = an_object("ConfigMap", "kubernaut-environment-config", cluster.home)

    async def mapped(environment: Environment) -> bool:
        done = await cluster.completed(a_signal("warning", at=shop))
        return done.status.environment_classification.environment is environment

    await cluster.create(config | {"data": {"mapping": "unlabelled-*: staging"}})
    await eventually(lambda: mapped(Environment.STAGING))
    change = {"data": {"mapping": f"unlabelled-*: staging\n{shop}: production"}}
    await cluster.patch("ConfigMap", Key(cluster.home, "kubernaut-environment-config"), change)

    await eventually(lambda: mapped(Environment.PRODUCTION))
    done = await cluster.completed(a_signal("warning", at=shop))
    assert done.status.environment_classification.source == "configmap"
    assert done.status.priority_assignment.priority is Priority.P1


@pytest.mark.requirement("LESSON-04")
async def test_no_signal_is_classified_on_an_empty_cache(cluster, open_controller, store):
    shop = await a_shop(cluster)
    keys = [await cluster.signal(a_signal(at=shop)) for _ in range(10)]

    async with open_controller():
        done = [await cluster.final(key) for key in keys]

    assert {signal.status.environment_classification.environment for signal in done} == {Environment.PRODUCTION}
    assert not any(signal.status.kubernetes_context.degraded_mode for signal in done)


async def test_burst_leaves_nine_events_and_one_write_each(cluster, open_controller, store):
    shop = await a_shop(cluster)
    async with open_controller(workers=4) as controller:
        signals = [a_signal(at=shop) for _ in range(50)]
        keys = await asyncio.gather(*(cluster.signal(signal) for signal in signals))
        done = [await cluster.final(key, timeout=30) for key in keys]
        for signal in signals:
            await store.events(signal.spec.remediation_request_ref.name, 9)
        writes = controller.registry.get_sample_value("signalprocessing_status_writes_total", {"result": "success"})

    assert {signal.status.phase for signal in done} == {Phase.COMPLETED}
    assert writes == 50
    assert (await store.client.verify()).is_valid


async def test_signal_created_again_under_its_name_is_another_signal(cluster, controller, store):
    shop = await a_shop(cluster)
    signal = a_signal(at=shop)
    first = await cluster.completed(signal)
    await store.events(signal.spec.remediation_request_ref.name, 9)
    await cluster.delete("SignalProcessing", key_of(first))

    second = await cluster.completed(signal)

    assert first.metadata.uid != second.metadata.uid
    await store.events(signal.spec.remediation_request_ref.name, 18)


@pytest.mark.requirement("LESSON-19")
async def test_recovery_context_comes_from_the_remediation_request(cluster, controller):
    shop = await a_shop(cluster)
    remediation = an_object("RemediationRequest", "rr-again", cluster.home, spec={"signalName": "HighMemoryUsage"})
    status = {"recoveryAttempts": 2, "failureReason": "rollout stuck", "startTime": "2026-01-01T00:00:00Z"}
    await cluster.create(remediation | {"status": status})

    async def recovered() -> bool:
        signal = a_signal(at=shop, parent="rr-again")
        metadata = msgspec.structs.replace(signal.metadata, name=f"{signal.metadata.name}-{signal.metadata.uid[:6]}")
        done = await cluster.completed(msgspec.structs.replace(signal, metadata=metadata))
        found = done.status.recovery_context
        return found is not None and (found.attempt_count, found.last_failure_reason) == (2, "rollout stuck")

    await eventually(recovered)


async def test_all_events_are_written_where_that_is_wanted(cluster, open_controller, kubernetes_events):
    shop = await a_shop(cluster)
    async with open_controller(events=RecordedEvents.ALL):
        done = await cluster.completed(a_signal(at=shop))

    events = await kubernetes_events(key_of(done))
    assert [event["reason"] for event in events].count("PhaseTransition") == 4
    assert {event["source"]["component"] for event in events} == {"signalprocessing-controller"}
