"""The phases over a folder of manifests: the same code that a cluster gets."""

from pathlib import Path

import pytest
import yaml

from kubernaut.api.signals import SignalProcessing
from kubernaut.api.vocabulary import Environment, Phase, Priority, Severity
from kubernaut.signalprocessing import offline
from kubernaut.signalprocessing.policy.live import open_policy
from kubernaut.signalprocessing.policy.sources import builtin
from support.signals import a_namespace, a_signal, an_object, owned_by


def a_folder(path: Path, *manifests: dict) -> offline.Manifests:
    (path / "cluster.yaml").write_text(yaml.safe_dump_all(manifests))
    return offline.read(path)


async def processed(signal: SignalProcessing, manifests: offline.Manifests) -> SignalProcessing:
    async with open_policy(builtin()) as policy:
        return await offline.process(signal, manifests, policy)


@pytest.mark.requirement("BR-SP-002", "BR-SP-081")
async def test_signal_in_production_gets_everything(tmp_path: Path):
    deployment = an_object("Deployment", "api", labels={"app.kubernetes.io/managed-by": "Helm"})
    replica_set = an_object("ReplicaSet", "api-7d", owner=owned_by(deployment))
    pod = an_object("Pod", "api-7d-x", owner=owned_by(replica_set), labels={"app": "api"})
    budget = an_object("PodDisruptionBudget", "api", spec={"selector": {"matchLabels": {"app": "api"}}})
    shop = a_namespace("shop", "production", **{"kubernaut.ai/team": "payments"})

    done = (await processed(a_signal(), a_folder(tmp_path, shop, deployment, replica_set, pod, budget))).status

    assert done.phase is Phase.COMPLETED
    assert done.environment_classification.environment is Environment.PRODUCTION
    assert done.environment_classification.source == "namespace-labels"
    assert (done.priority_assignment.priority, done.signal_classification.severity) == (Priority.P0, Severity.CRITICAL)
    assert [(hop.kind, hop.name) for hop in done.kubernetes_context.owner_chain] == [
        ("ReplicaSet", "api-7d"),
        ("Deployment", "api"),
    ]
    assert done.kubernetes_context.custom_labels == {"team": ["payments"]}
    assert done.kubernetes_context.detected_labels.helm_managed
    assert done.kubernetes_context.detected_labels.pdb_protected
    assert done.business_classification.business_unit == "payments"
    assert not done.kubernetes_context.degraded_mode
    assert [condition.status for condition in done.conditions] == ["True"] * 5


async def test_mapping_decides_an_unlabelled_namespace_and_the_priority_with_it(tmp_path: Path):
    mapping = an_object("ConfigMap", "kubernaut-environment-config", "kubernaut-system")
    mapping["data"] = {"mapping": "# by name\nprod-*: production\nprod-test-*: test\n"}
    manifests = a_folder(tmp_path, mapping, a_namespace("prod-eu"), an_object("Pod", "api-7d-x", "prod-eu"))

    done = (await processed(a_signal("warning", at="prod-eu"), manifests)).status

    assert done.environment_classification.environment is Environment.PRODUCTION
    assert done.environment_classification.source == "configmap"
    assert done.priority_assignment.priority is Priority.P1
    assert done.priority_assignment.policy_name == "production-warning"


@pytest.mark.requirement("BR-SP-112")
@pytest.mark.requirement("LESSON-20")
async def test_node_has_no_namespace_and_is_not_degraded(tmp_path: Path):
    node = an_object("Node", "node-1", "", labels={"zone": "a"})

    done = (await processed(a_signal(kind="Node", target="node-1", at=""), a_folder(tmp_path, node))).status

    assert done.kubernetes_context.namespace is None
    assert done.kubernetes_context.workload.labels == {"zone": "a"}
    assert not done.kubernetes_context.degraded_mode
    assert done.environment_classification.environment is Environment.UNKNOWN


@pytest.mark.requirement("LESSON-30")
async def test_vanished_target_degrades_the_context_and_never_fails_the_signal(tmp_path: Path):
    manifests = a_folder(tmp_path, a_namespace("shop", "staging"))

    done = (await processed(a_signal(), manifests)).status

    assert done.phase is Phase.COMPLETED
    assert done.kubernetes_context.degraded_mode
    assert done.kubernetes_context.workload is None
    assert done.environment_classification.environment is Environment.STAGING
    assert done.condition("EnrichmentComplete").reason == "DegradedMode"


async def test_vanished_namespace_degrades_the_context_too(tmp_path: Path):
    manifests = a_folder(tmp_path, a_namespace("other"))

    done = (await processed(a_signal(at="gone"), manifests)).status

    assert done.phase is Phase.COMPLETED
    assert done.kubernetes_context.degraded_mode
    assert done.environment_classification.environment is Environment.UNKNOWN


def test_file_that_is_no_manifest_is_named(tmp_path: Path):
    (tmp_path / "broken.yaml").write_text("kind: Pod\nmetadata: 3\n")

    with pytest.raises(offline.ManifestError, match=r"broken\.yaml"):
        offline.read(tmp_path)
