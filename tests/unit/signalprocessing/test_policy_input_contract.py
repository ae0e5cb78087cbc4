"""Every documented field of the input is there, and nothing else; an empty answer is an answer."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from kubernaut.api.signals import KubernetesContext, SignalStatus
from kubernaut.api.vocabulary import Phase
from kubernaut.signalprocessing import offline
from kubernaut.signalprocessing.config import ClusterConfig
from kubernaut.signalprocessing.phases import Dependencies, Phases
from kubernaut.signalprocessing.policy import contract, decision
from kubernaut.signalprocessing.policy.documents import policy_input_of
from kubernaut.signalprocessing.policy.input import PolicyInput, encode
from kubernaut.signalprocessing.policy.live import open_policy
from kubernaut.signalprocessing.policy.protocol import Evaluation
from kubernaut.signalprocessing.policy.sources import Form, from_text
from kubernaut.signalprocessing.signal_mode import SignalModeMapping
from support.signals import a_context, a_namespace, a_signal, an_object, owned_by

LABEL = "kubernaut.ai/team"


async def the_input() -> PolicyInput:
    """What the phases of the controller make of a signal about which everything is known."""
    manifests = offline.Manifests()
    deployment = an_object("Deployment", "api")
    replica_set = an_object("ReplicaSet", "api-7d", owner=owned_by(deployment))
    pod = an_object("Pod", "api-7d-x", owner=owned_by(replica_set), labels={"app": "api"})
    pod["metadata"]["annotations"] = {"runbook": "http://wiki/api"}
    budget = an_object("PodDisruptionBudget", "api", spec={"selector": {"matchLabels": {"app": "api"}}})
    for each in (deployment, replica_set, pod, budget, a_namespace("shop", "production", **{LABEL: "payments"})):
        manifests.add(each)
    cluster = ClusterConfig(name="eu-1", labels={"environment": "edge"})
    environments = manifests.environment_mapping()
    phases = Phases(
        Dependencies(
            reader=manifests,
            policy=_NoPolicy(),
            environments=lambda: environments,
            signal_modes=SignalModeMapping,
            cluster=cluster.name,
            cluster_labels=cluster.labels_of,
        ),
        clock=lambda: datetime(2026, 1, 1, tzinfo=UTC),
    )
    signal = a_signal(severity="Sev2", labels={"alertname": "X"})
    signal = msgspec.structs.replace(signal, status=SignalStatus(phase=Phase.ENRICHING))
    enriched = await phases.advance(signal)
    return phases.policy_input(msgspec.structs.replace(signal, status=enriched.status))


class _NoPolicy:
    async def decide(self, policy_input: PolicyInput) -> decision.Decision:
        raise AssertionError(f"nothing is decided here: {policy_input}")


def paths(document: Any, below: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every value; `0` is the first of a list."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield from paths(value, (*below, key))
    elif isinstance(document, list) and document and isinstance(document[0], dict):
        yield from paths(document[0], (*below, "0"))
    else:
        yield below


DOCUMENTED = {
    "namespace.name": "shop",
    "namespace.labels.kubernaut.ai/environment": "production",
    f"namespace.labels.{LABEL}": "payments",
    "signal.name": "HighMemoryUsage",
    "signal.severity": "Sev2",
    "signal.type": "alert",
    "signal.source": "prometheus",
    "signal.labels.alertname": "X",
    "signal.untrustedLabels.alertname": "X",
    "workload.kind": "Pod",
    "workload.name": "api-7d-x",
    "workload.labels.app": "api",
    "workload.annotations.runbook": "http://wiki/api",
    "workload.ownerChain.0.kind": "ReplicaSet",
    "workload.ownerChain.0.name": "api-7d",
    "workload.ownerChain.0.namespace": "shop",
    "workload.ownerChain.0.apiVersion": "apps/v1",
    "detectedLabels.pdbProtected": True,
    "cluster.labels.environment": "edge",
    "fallbackEnvironment.environment": "Unknown",
    "fallbackEnvironment.source": "default",
}


def value_at(document: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


async def test_every_documented_field_has_its_value_and_there_is_no_other():
    document = msgspec.json.decode(encode(await the_input()))

    found = {".".join(path): value_at(document, path) for path in paths(document)}
    assert {name: found.get(name) for name in DOCUMENTED} == DOCUMENTED
    assert found.keys() == DOCUMENTED.keys()


async def test_the_fields_that_the_check_knows_are_those_of_the_document():
    document = msgspec.json.decode(encode(await the_input()))

    for path in paths(document):
        names = tuple(part for part in path if part != "0")
        assert contract.unknown_field(names, contract.INPUT_FIELDS) is None, path
    for name, below in contract.INPUT_FIELDS.items():
        for field in below:
            assert field in document[name], f"{name}.{field}"


async def test_a_policy_reads_every_field_through_the_engine():
    rules = "\n".join(
        f'labels["{number}"] := [sprintf("%v", [object.get(input, {msgspec.json.encode(_keys(name)).decode()}, "?")])]'
        for number, name in enumerate(DOCUMENTED)
    )
    head = 'package signalprocessing\nimport rego.v1\nseverity := "info"\npriority := {"priority": "P1"}\n'
    async with open_policy(from_text(head + rules)) as policy:
        evaluation = await policy.process.evaluate(encode(await the_input()))

    found = {int(number): value for number, (value,) in evaluation.results["labels"][0].items()}
    assert [found[number] for number in range(len(DOCUMENTED))] == [
        "true" if value is True else str(value) for value in DOCUMENTED.values()
    ]


def _keys(name: str) -> list[str | int]:
    """The path as `object.get` takes it."""
    head, separator, label = name.partition(".labels.")
    if separator:
        return [*head.split("."), "labels", label]
    return [int(part) if part.isdigit() else part for part in name.split(".")]


def test_what_is_empty_is_left_out_and_names_are_always_there():
    bare = PolicyInput(signal=a_signal(labels={}).spec.signal, context=KubernetesContext(degraded_mode=True))
    document = msgspec.json.decode(encode(bare))

    assert document["namespace"] == {"name": ""}
    assert document["workload"] == {"kind": "", "name": ""}
    assert not document.keys() & {"cluster", "detectedLabels"}
    assert not document["signal"].keys() & {"labels", "untrustedLabels"}


async def test_a_document_says_the_same_as_the_signal_that_it_was_made_of():
    original = await the_input()
    for form in Form:
        again = policy_input_of(msgspec.json.decode(encode(original)))
        if form is Form.UNIFIED:
            assert encode(again, form) == encode(original, form)


@pytest.mark.parametrize("cluster_id", ["", "eu-1"])
def test_labels_of_this_cluster_and_of_others(cluster_id):
    config = ClusterConfig(name="eu-1", labels={"a": "b"}, others={"us-1": {"c": "d"}})

    assert config.labels_of(cluster_id) == {"a": "b"}
    assert config.labels_of("us-1") == {"c": "d"}
    assert config.labels_of("nobody") == {}


EMPTY_ANSWERS = [
    ("labels", {}, "custom_labels", {}),
    ("cluster", "", "cluster", ""),
    ("priority", {"priority": "P3", "policy_name": ""}, "policy_name", ""),
    ("environment", {"environment": "Production", "source": ""}, "environment_source", "default"),
]


@pytest.mark.parametrize(("rule", "answer", "field", "expected"), EMPTY_ANSWERS)
def test_an_empty_answer_is_an_answer(rule, answer, field, expected):
    results = {
        "environment": [{"environment": "Test", "source": "x"}],
        "severity": ["info"],
        "priority": [{"priority": "P1", "policy_name": "x"}],
        rule: [answer],
    }
    policy_input = PolicyInput(signal=a_signal().spec.signal, context=a_context(labels={LABEL: "a"}))
    found = decision.decide(Evaluation(results=results), policy_input, "0" * 64)

    assert found.failures == ()
    assert getattr(found, field) == expected


def test_an_undefined_labels_rule_leaves_the_labels_to_the_namespace():
    policy_input = PolicyInput(signal=a_signal().spec.signal, context=a_context(labels={LABEL: "a"}))
    found = decision.decide(Evaluation(results={"labels": []}), policy_input, "0" * 64)

    assert found.custom_labels == {"team": ["a"]}
