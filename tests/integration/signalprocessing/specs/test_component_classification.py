"""Environment, priority and business class, each by what decides it."""

import pytest

from kubernaut.kube.objects import Key
from support.suite.specs import environment, priority
from support.suite.worker import MAPPING

spec = pytest.mark.spec
CONFIG_MAP = "kubernaut-environment-config"


@pytest.fixture
async def mapping(suite):
    """Changes the mapping of this worker; it is put back."""
    where = Key(suite.home, CONFIG_MAP)

    async def change(text: str) -> None:
        changed = await suite.cluster.patch("ConfigMap", where, {"data": {"mapping": text}})
        await suite.controller.observe(changed | {"kind": "ConfigMap"})

    yield change
    await change(MAPPING)


@spec("CV-01", "BR-SP-052")
async def test_mapping_decides_by_the_name_of_the_namespace(suite):
    """`prod-configmap-test-…` without a label is Production by the pattern `prod-*`."""
    shop = await suite.namespace("prod-configmap-test")

    done = await suite.completed(target=("Pod", "test-pod", shop))

    assert environment(done) == ("Production", "configmap")


@spec("CV-02", "BR-SP-051", "BR-SP-052")
async def test_label_beats_mapping(suite):
    """The label `staging` on a namespace that the mapping calls Production: Staging."""
    shop = await suite.namespace("prod-but-staging", "staging")

    done = await suite.completed(target=("Pod", "test-pod", shop))

    assert environment(done) == ("Staging", "namespace-labels")


@spec("CV-03", "BR-SP-052", "BR-SP-072")
async def test_edit_of_the_mapping_takes_effect(suite, mapping):
    """A name that is added to the mapping decides the next signal, and beats the pattern."""
    shop = await suite.namespace("staging-app")
    before = await suite.completed(target=("Pod", "test-pod", shop))

    await mapping(f"{MAPPING}{shop}: production\n")
    after = await suite.completed(target=("Pod", "test-pod", shop))

    assert environment(before) == ("Staging", "configmap")
    assert environment(after) == ("Production", "configmap")


@spec("CP-01", "BR-SP-070")
async def test_priority_by_policy(suite):
    """Critical in production: P0, by the policy's rule of that name."""
    shop = await suite.namespace("priority", "production")

    done = await suite.completed(target=("Pod", "test-pod", shop))

    assert priority(done) == ("P0", "rego-policy")
    assert done.status.priority_assignment.policy_name == "production-critical"


@spec("CP-02", "BR-SP-070", "BR-SP-071")
async def test_critical_in_an_unknown_environment(suite):
    """Critical where the environment is Unknown: P1."""
    shop = await suite.namespace("severity-fallback")

    done = await suite.completed(target=("Pod", "test-pod", shop))

    assert environment(done) == ("Unknown", "default")
    assert priority(done) == ("P1", "rego-policy")


@spec("CP-03", "BR-SP-070", "BR-SP-072")
async def test_priority_of_a_warning_in_staging(suite):
    """A warning in staging: P2, decided by the version of the policy that is in force."""
    shop = await suite.namespace("priority", "staging")

    done = await suite.completed("warning", target=("Pod", "test-pod", shop))

    assert priority(done) == ("P2", "rego-policy")
    assert done.status.signal_classification.policy_hash == suite.controller.service.policy.current.hash


@spec("CB-01", "BR-SP-002", "BR-SP-080")
async def test_team_stands_for_the_business_unit(suite):
    """Without the label `business-unit`, the label `team` names the unit."""
    shop = await suite.namespace("business", "production", team="payments")

    done = await suite.completed(target=("Pod", "test-pod", shop))

    assert done.status.business_classification.business_unit == "payments"


@spec("CB-02", "BR-SP-002", "BR-SP-081")
async def test_business_class_without_labels(suite):
    """No label says anything: no unit and no owner, and rank and SLA of an Unknown environment."""
    shop = await suite.namespace("finance-app")

    done = await suite.completed(target=("Pod", "test-pod", shop))

    business = done.status.business_classification
    assert (business.business_unit, business.service_owner) == ("", "")
    assert (business.criticality, business.sla_requirement) == ("Medium", "Silver")
