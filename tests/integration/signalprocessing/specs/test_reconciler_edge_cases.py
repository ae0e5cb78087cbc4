"""Signals with little, much or unusual around them."""

import asyncio

import pytest

from kubernaut.api.vocabulary import EventType
from kubernaut.kube.objects import key_of
from support.signals import an_object, owned_by
from support.suite.objects import deployment, pod, replica_set
from support.suite.specs import custom_labels, environment, owners

spec = pytest.mark.spec


@spec("RE-01", "BR-SP-053")
async def test_namespace_that_nobody_knows_is_unknown(suite):
    """Neither label nor mapping: environment Unknown, source default."""
    shop = await suite.namespace("unknown-env")

    done = await suite.completed(target=("Pod", "test-pod", shop))

    assert environment(done) == ("Unknown", "default")


@spec("RE-02", "BR-SP-001", "BR-SP-080")
async def test_missing_pod_degrades_and_labels_of_the_signal_decide_nothing(suite):
    """A target that does not exist degrades the context; `environment: production` among the signal's labels is not
    believed."""
    shop = await suite.namespace("unknown-env")

    done = await suite.completed(target=("Pod", "non-existent-pod", shop), labels={"environment": "production"})

    context = done.status.kubernetes_context
    assert (context.degraded_mode, context.workload) == (True, None)
    assert environment(done) == ("Unknown", "default")


@spec("RE-03", "BR-SP-090")
async def test_ten_signals_at_once(suite):
    """Ten signals raised at once all complete, each with exactly nine audit events, and can be deleted."""
    shop = await suite.namespace("reconciler", "production")
    await suite.create(pod("busy", shop))

    keys = await asyncio.gather(*(suite.signal(target=("Pod", "busy", shop)) for _ in range(10)))
    done = await suite.all_completed(keys)
    trails = [await suite.trail(signal) for signal in done]
    for signal in done:
        await suite.delete("SignalProcessing", key_of(signal))

    assert len(set(keys)) == 10
    assert [len(trail) for trail in trails] == [9] * 10


@spec("RE-04", "BR-SP-001")
async def test_minimal_signal_completes(suite):
    """Nothing but what the CRD requires: Completed."""
    shop = await suite.namespace("reconciler")

    done = await suite.completed("info", target=("Pod", "minimal-pod", shop), type="kubernetes-event", source=None)

    assert done.status.completion_time >= done.status.start_time


@spec("RE-05", "DD-TEST-004")
async def test_namespace_with_digits_and_hyphens(suite):
    """`my-ns-123-…` is a name like any other."""
    shop = await suite.namespace("my-ns-123", "production")

    done = await suite.completed(target=("Pod", "test-pod", shop))

    assert done.status.kubernetes_context.namespace.name == shop


@spec("RE-06", "BR-SP-100")
async def test_owner_chain_ends_after_five_owners(suite):
    """Seven owners above a pod: the chain names the nearest five and stops."""
    shop = await suite.namespace("reconciler")
    kinds = ["Service", "CronJob", "Job", "DaemonSet", "StatefulSet", "Deployment", "ReplicaSet"]
    owner = None
    for kind in kinds:
        builder = {"Deployment": deployment, "ReplicaSet": replica_set}.get(kind)
        manifest = builder(f"level-{kind.lower()}", shop) if builder else _owned(kind, shop)
        if owner:
            manifest["metadata"]["ownerReferences"] = [owned_by(owner)]
        (owner,) = await suite.create(manifest)
    await suite.create(pod("deep-pod", shop, owner=owner, controller=False))

    done = await suite.completed(target=("Pod", "deep-pod", shop))

    assert [kind for kind, _ in owners(done)] == kinds[:1:-1]


def _owned(kind: str, namespace: str):
    """A manifest of a kind between a pod and what owns it."""
    name = f"level-{kind.lower()}"
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "c", "image": "nginx:latest"}], "restartPolicy": "Never"},
    }
    always = {"metadata": {"labels": labels}, "spec": {"containers": template["spec"]["containers"]}}
    specs = {
        "Service": {"ports": [{"port": 80}]},
        "CronJob": {"schedule": "0 0 * * *", "jobTemplate": {"spec": {"template": template}}},
        "Job": {"template": template},
        "DaemonSet": {"selector": {"matchLabels": labels}, "template": always},
        "StatefulSet": {"selector": {"matchLabels": labels}, "serviceName": name, "template": always},
    }
    return an_object(kind, name, namespace, spec=specs[kind])


@spec("RE-07", "BR-SP-103")
async def test_nothing_special_is_detected_without_a_failed_detection(suite):
    """A bare pod: every detection ran, none of them failed, and none found anything."""
    shop = await suite.namespace("reconciler")
    await suite.create(pod("plain-pod", shop, labels={"app": "plain"}))

    done = await suite.completed(target=("Pod", "plain-pod", shop))

    detected = done.status.kubernetes_context.detected_labels
    assert detected.failed_detections == []
    found = (detected.git_ops_managed, detected.pdb_protected, detected.hpa_enabled, detected.stateful)
    assert found == (False, False, False, False)
    assert (detected.helm_managed, detected.network_isolated, detected.service_mesh) == (False, False, "")


@spec("RE-08", "BR-SP-102")
async def test_three_labels_make_three_custom_labels(suite):
    """team, tier and cost-center of the namespace become exactly these custom labels."""
    shop = await suite.namespace("reconciler", team="platform", tier="backend", cost_center="engineering")

    done = await suite.completed(target=("Pod", "test-pod", shop))
    (event,) = await suite.audited(done, EventType.ENRICHMENT_COMPLETED)

    assert custom_labels(done) == {"cost-center": ["engineering"], "team": ["platform"], "tier": ["backend"]}
    assert event.event_outcome == "success"
