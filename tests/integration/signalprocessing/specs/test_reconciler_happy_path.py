"""Signals whose facts are all there."""

import pytest

from support.suite.objects import autoscaler, deployment, disruption_budget, pod, replica_set
from support.suite.specs import custom_labels, environment, owners, priority

spec = pytest.mark.spec
LABEL, POLICY = "namespace-labels", "rego-policy"


@spec("RH-01", "BR-SP-070", "BR-SP-051")
async def test_critical_in_production_is_p0(suite):
    """A critical signal about a pod of a production namespace: environment Production by its label, priority P0."""
    shop = await suite.namespace("reconciler", "production")
    await suite.create(pod("api-server-xyz", shop, labels={"app": "api-server"}))

    done = await suite.completed("critical", target=("Pod", "api-server-xyz", shop))

    assert environment(done) == ("Production", LABEL)
    assert priority(done) == ("P0", POLICY)


@spec("RH-02", "BR-SP-070", "BR-SP-051")
async def test_warning_in_staging_is_p2(suite):
    """A warning about a Deployment of a staging namespace: environment Staging, priority P2."""
    shop = await suite.namespace("reconciler", "staging")
    await suite.create(deployment("web-frontend", shop))

    done = await suite.completed("warning", target=("Deployment", "web-frontend", shop))

    assert environment(done) == ("Staging", LABEL)
    assert priority(done) == ("P2", POLICY)


@spec("RH-03", "BR-SP-070", "BR-SP-051")
async def test_info_in_development_is_p3(suite):
    """An info signal about a Service that does not exist, in a development namespace: Development, P3."""
    shop = await suite.namespace("reconciler", "development")

    done = await suite.completed("info", target=("Service", "backend-api", shop), name="LowDiskSpace")

    assert environment(done) == ("Development", LABEL)
    assert priority(done) == ("P3", POLICY)
    assert done.status.signal_classification.signal_name == "LowDiskSpace"


@spec("RH-04", "BR-SP-051")
async def test_label_of_the_namespace_decides_the_environment(suite):
    """The namespace's label decides the environment, and the status says so."""
    shop = await suite.namespace("custom", "production")

    done = await suite.completed("warning", target=("Pod", "test-pod", shop))

    assert environment(done) == ("Production", LABEL)


@spec("RH-05", "BR-SP-052")
async def test_mapping_decides_where_the_label_is_missing(suite):
    """A namespace without a label gets the environment of the ConfigMap mapping, which is really read."""
    shop = await suite.namespace("staging-app")

    done = await suite.completed("warning", target=("Pod", "test-pod", shop))

    assert environment(done) == ("Staging", "configmap")


@spec("RH-06", "BR-SP-002")
async def test_business_class_comes_from_the_labels(suite):
    """Unit, owner and criticality are those of the labels; an SLA that is none falls to that of the environment."""
    labels = {"business_unit": "payments", "service_owner": "payments-team", "criticality": "high", "sla_tier": "99.9"}
    shop = await suite.namespace("reconciler", "production", **labels)

    done = await suite.completed(target=("Pod", "payment-processor", shop))

    business = done.status.business_classification
    assert (business.business_unit, business.service_owner) == ("payments", "payments-team")
    assert (business.criticality, business.sla_requirement) == ("High", "Gold")


@spec("RH-07", "BR-SP-100")
async def test_owner_chain_leads_to_the_deployment(suite):
    """Pod → ReplicaSet → Deployment: two owners, nearest first."""
    shop = await suite.namespace("reconciler", "production")
    (top,) = await suite.create(deployment("ownerchain-deployment", shop))
    (middle,) = await suite.create(replica_set("ownerchain-rs", shop, owner=top))
    await suite.create(pod("ownerchain-pod", shop, owner=middle))

    done = await suite.completed(target=("Pod", "ownerchain-pod", shop))

    assert owners(done) == [("ReplicaSet", "ownerchain-rs"), ("Deployment", "ownerchain-deployment")]


@spec("RH-08", "BR-SP-101")
async def test_disruption_budget_is_detected(suite):
    """A pod that a PodDisruptionBudget selects is protected, and nothing else is claimed."""
    shop = await suite.namespace("reconciler", "production")
    await suite.create(pod("pdb-pod", shop, labels={"app": "pdb-protected"}))
    await suite.create(disruption_budget("test-pdb", shop, app="pdb-protected"))

    done = await suite.completed(target=("Pod", "pdb-pod", shop))

    detected = done.status.kubernetes_context.detected_labels
    assert (detected.pdb_protected, detected.hpa_enabled, detected.failed_detections) == (True, False, [])


@spec("RH-09", "BR-SP-101")
async def test_autoscaler_is_detected(suite):
    """A Deployment that a HorizontalPodAutoscaler targets is autoscaled, and nothing else is claimed."""
    shop = await suite.namespace("reconciler", "production")
    await suite.create(deployment("hpa-deployment", shop), autoscaler("test-hpa", shop, "hpa-deployment"))

    done = await suite.completed(target=("Deployment", "hpa-deployment", shop))

    detected = done.status.kubernetes_context.detected_labels
    assert (detected.hpa_enabled, detected.pdb_protected, detected.failed_detections) == (True, False, [])


@spec("RH-10", "BR-SP-102")
async def test_custom_labels_come_from_the_policy(suite):
    """The policy turns the namespace's `kubernaut.ai/team` into the custom label `team`."""
    shop = await suite.namespace("reconciler", "production", team="platform")

    done = await suite.completed(target=("Pod", "test-pod", shop))

    assert custom_labels(done) == {"team": ["platform"]}
