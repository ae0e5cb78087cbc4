"""Each kind of target is looked up, with its labels (BR-SP-001)."""

import pytest

from kubernaut.kube.objects import Key
from support.signals import an_object, owned_by
from support.suite.objects import autoscaler, deployment, pod, replica_set, service, stateful_set
from support.suite.specs import owners

spec = pytest.mark.spec


async def enriched(suite, kind: str, name: str, namespace: str):
    """The workload that was found; the context must be complete."""
    done = await suite.completed(target=(kind, name, namespace))
    context = done.status.kubernetes_context
    assert context.degraded_mode is False
    assert (context.workload.kind, context.workload.name) == (kind, name)
    return context.workload


@spec("CE-01", "BR-SP-001")
async def test_pod(suite):
    """A Pod: its labels and annotations."""
    shop = await suite.namespace("enrichment")
    limits = {"resources": {"limits": {"cpu": "100m", "memory": "128Mi"}}}
    labels, annotations = {"app": "test-app", "version": "v1.2.3"}, {"prometheus.io/scrape": "true"}
    await suite.create(pod("enrichment-test-pod", shop, labels=labels, annotations=annotations, container=limits))

    found = await enriched(suite, "Pod", "enrichment-test-pod", shop)

    assert (found.labels, found.annotations) == (labels, annotations)


@spec("CE-02", "BR-SP-001")
async def test_deployment(suite):
    """A Deployment: its labels."""
    shop = await suite.namespace("enrichment")
    await suite.create(deployment("enrichment-deployment", shop, labels={"app": "deploy-test"}))

    assert (await enriched(suite, "Deployment", "enrichment-deployment", shop)).labels == {"app": "deploy-test"}


@spec("CE-03", "BR-SP-001")
async def test_node(suite):
    """A Node, which has no namespace: its labels, and no namespace in the context."""
    name = suite.name("node")
    await suite.create(an_object("Node", name, "", labels={"zone": "a"}))

    done = await suite.completed(target=("Node", name, ""))
    await suite.delete("Node", Key("", name))

    context = done.status.kubernetes_context
    assert (context.degraded_mode, context.namespace) == (False, None)
    assert context.workload.labels["zone"] == "a"


@spec("CE-04", "BR-SP-001")
async def test_stateful_set(suite):
    """A StatefulSet: its labels."""
    shop = await suite.namespace("enrichment")
    await suite.create(stateful_set("enrichment-statefulset", shop, labels={"app": "statefulset-test"}))

    found = await enriched(suite, "StatefulSet", "enrichment-statefulset", shop)

    assert found.labels == {"app": "statefulset-test"}


@spec("CE-05", "BR-SP-001")
async def test_service(suite):
    """A Service: its labels."""
    shop = await suite.namespace("enrichment")
    await suite.create(service("enrichment-service", shop, labels={"app": "service-test"}))

    assert (await enriched(suite, "Service", "enrichment-service", shop)).labels == {"app": "service-test"}


@spec("CE-06", "BR-SP-001")
async def test_namespace_labels(suite):
    """The labels of the target's namespace, under their full keys."""
    shop = await suite.namespace("enrichment", "staging", team="platform")

    done = await suite.completed(target=("Pod", "test-pod", shop))

    found = done.status.kubernetes_context.namespace.labels
    assert found["kubernaut.ai/environment"] == "staging"
    assert found["kubernaut.ai/team"] == "platform"


@spec("CE-07", "BR-SP-001")
async def test_missing_pod_degrades(suite):
    """A Pod that does not exist: degraded, whatever labels the signal brings."""
    shop = await suite.namespace("enrichment")

    done = await suite.completed(target=("Pod", "non-existent-pod", shop), labels={"app": "fallback-app"})

    assert done.status.kubernetes_context.degraded_mode is True
    assert done.status.kubernetes_context.workload is None
    assert done.status.condition("EnrichmentComplete").reason == "DegradedMode"


@spec("CO-01", "BR-SP-100")
async def test_owner_chain(suite):
    """Pod → ReplicaSet → Deployment by controller references: two owners, nearest first."""
    shop = await suite.namespace("owners")
    (top,) = await suite.create(deployment("real-deployment", shop))
    (middle,) = await suite.create(replica_set("real-replicaset", shop, owner=top))
    await suite.create(pod("real-pod", shop, owner=middle))

    done = await suite.completed(target=("Pod", "real-pod", shop))

    assert owners(done) == [("ReplicaSet", "real-replicaset"), ("Deployment", "real-deployment")]


@spec("CO-02", "BR-SP-100")
async def test_owner_in_another_namespace_is_not_followed(suite):
    """A reference to a Deployment of another namespace names it, says that it was not found, and takes nothing from
    it: its autoscaler is not the pod's."""
    shop, other = await suite.namespace("owners"), await suite.namespace("elsewhere")
    (foreign,) = await suite.create(deployment("foreign", other))
    await suite.create(autoscaler("foreign", other, "foreign"))
    manifest = pod("real-pod", shop)
    # The garbage collector takes an owner of another namespace for a missing one; the finalizer keeps the pod.
    manifest["metadata"] |= {"ownerReferences": [owned_by(foreign)], "finalizers": ["kubernaut.ai/test"]}
    await suite.create(manifest)

    done = await suite.completed(target=("Pod", "real-pod", shop))

    (owner,) = done.status.kubernetes_context.owner_chain
    assert (owner.kind, owner.name, owner.note) == ("Deployment", "foreign", "not found")
    assert done.status.kubernetes_context.detected_labels.hpa_enabled is False
