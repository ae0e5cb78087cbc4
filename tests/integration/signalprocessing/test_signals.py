"""A signal from creation to its verified trail."""

from typing import Any

import msgspec

from kubernaut.api.vocabulary import Environment, Phase, Priority
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
