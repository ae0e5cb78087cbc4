"""Why a signal was decided as it was, by the real engine."""

from itertools import product
from pathlib import Path

import msgspec
import pytest

from kubernaut.api.facts import DecisionFacts, SignalFacts
from kubernaut.api.signals import FallbackEnvironment, KubernetesContext, NamespaceContext, WorkloadContext
from kubernaut.api.vocabulary import Environment, EnvironmentSource
from kubernaut.signalprocessing.explanation.explainer import open_explainer
from kubernaut.signalprocessing.facts import policy_input
from kubernaut.signalprocessing.policy import sources
from kubernaut.signalprocessing.policy.live import open_policy

POLICIES = Path(__file__).with_name("opa") / "policies"

RULES = """package signalprocessing

import rego.v1

import input.namespace as ns

default environment := {"environment": "Unknown", "source": "default"}

environment := {"environment": "Production", "source": "namespace-labels"} if {
	startswith(ns.name, "prod-")
} else := {"environment": "Staging", "source": "namespace-labels"} if {
	ns.labels.env == "staging"
}

severity := lower(input.signal.severity)

default priority := {"priority": "P3", "policy_name": "catch-all"}

priority := {"priority": "P0", "policy_name": "gold"} if {
	is_bad
	object.get(ns.labels, "tier", "none") == "gold" # the contract
}

priority := {"priority": "P1", "policy_name": "busy"} if {
	not input.detectedLabels.hpaEnabled
	replicas := to_number(input.workload.annotations.replicas)
	replicas >= 10
	environment.environment == "Staging"
}

is_bad if severity == "critical"
"""


def some_facts(severity="warning", *, labels=None, annotations=None, at="shop", fallback=None) -> DecisionFacts:
    return DecisionFacts(
        signal=SignalFacts(name="HighMemoryUsage", severity=severity, type="alert"),
        kubernetes_context=KubernetesContext(
            namespace=NamespaceContext(name=at, labels=labels or {}),
            workload=WorkloadContext(kind="Pod", name="api", annotations=annotations or {}),
        ),
        fallback_environment=fallback
        or FallbackEnvironment(environment=Environment.UNKNOWN, source=EnvironmentSource.DEFAULT),
    )


async def explained(facts, text=RULES, answers=None):
    async with open_explainer(sources.from_text(text)) as explainer:
        return await explainer.explain(facts, answers)


def answer(explanation, name):
    (found,) = [each for each in explanation.answers if each.name == name]
    return found


def changes(explanation):
    return {each.description: each.answers.get("priority") for each in explanation.changes}


async def test_rule_and_line_that_decided_are_named_and_what_the_others_said():
    found = await explained(some_facts("Critical", labels={"tier": "gold"}))

    priority = answer(found, "priority")
    assert (priority.value, priority.rule.line, priority.rule.file) == ("P0", 19, "policy.rego")
    assert {(other.line, other.is_default) for other in priority.others} == {(17, True), (24, False)}
    busy = next(other for other in priority.others if other.line == 24)
    assert (busy.failed.line, busy.value) == (26, None)
    assert "to_number" in busy.failed.text


async def test_branch_of_else_and_the_statement_that_did_not_hold():
    found = await explained(some_facts(labels={"env": "staging"}))

    environment = answer(found, "environment")
    assert (environment.value, environment.rule.line) == ("Staging", 11)
    first = next(other for other in environment.others if other.line == 9)
    assert (first.failed.line, first.failed.text) == (10, 'startswith(ns.name, "prod-")')


async def test_inputs_have_values_and_come_from_somewhere():
    found = await explained(some_facts("critical", labels={"tier": "gold"}))

    inputs = {each.path: each for each in found.inputs}
    tier = inputs["input.namespace.labels.tier"]
    assert (tier.value, tier.origin, tier.answers) == ("gold", "label tier of Namespace/shop", ["priority"])
    assert inputs["input.signal.severity"].answers == ["severity", "priority"]
    env = inputs["input.namespace.labels.env"]
    assert (env.value, env.answers) == (None, ["environment"])
    assert "input.workload.annotations.replicas" in inputs


async def test_smallest_changes_give_another_priority():
    found = await explained(some_facts("critical", labels={"tier": "silver", "env": "staging"}))

    assert answer(found, "priority").value == "P3"
    assert changes(found) == {"workload annotation replicas=10": "P1", "namespace label tier=gold": "P0"}


async def test_the_example_of_the_documents_holds():
    facts = some_facts("critical", labels={"kubernaut.ai/environment": "production"})
    async with open_explainer(sources.builtin()) as explainer:
        found = await explainer.explain(facts)

    assert list(changes(found).items())[:2] == [
        ("namespace label kubernaut.ai/environment=staging", "P1"),
        ("alert severity high", "P1"),
    ]
    assert changes(found)["without namespace label kubernaut.ai/environment"] == "P1"


async def test_numbers_and_absent_inputs_are_changed():
    found = await explained(some_facts(labels={"env": "staging"}, annotations={"replicas": "9"}))

    assert changes(found) == {"workload annotation replicas=10": "P1"}


async def test_mapping_decides_where_the_policy_leaves_the_environment_open():
    staging = FallbackEnvironment(environment=Environment.STAGING, source=EnvironmentSource.CONFIGMAP)
    found = await explained(some_facts(annotations={"replicas": "12"}, fallback=staging))

    environment = answer(found, "environment")
    assert (environment.value, environment.source, environment.rule) == ("Staging", "configmap", None)
    assert answer(found, "priority").value == "P1"
    fallback = next(each for each in found.inputs if each.path == "input.fallbackEnvironment")
    assert fallback.origin == "the environment mapping (ConfigMap)"
    assert changes(found)["the mapping of namespace shop to Production"] == "P3"


async def test_definitions_that_disagree_are_all_named():
    text = RULES.replace('object.get(ns.labels, "tier", "none") == "gold" # the contract', "true")
    facts = some_facts("critical", labels={"env": "staging"}, annotations={"replicas": "10"})
    found = await explained(facts, text)

    priority = answer(found, "priority")
    assert priority.rule is None
    assert (priority.source, "priority" in priority.error) == ("fallback-severity", True)
    assert [other.value["priority"] for other in priority.others if other.value and not other.is_default] == [
        "P0",
        "P1",
    ]


async def test_record_that_says_otherwise_is_reported():
    found = await explained(some_facts(), answers={"environment": "unknown", "priority": "P0"})

    assert found.differs == ["priority is P0 in the record, and P3 when it is decided again"]


async def test_every_change_that_is_named_has_the_effect_that_is_named():
    async with open_explainer(sources.builtin()) as explainer:
        for severity, environment in product(["critical", "Sev2", "odd"], ["production", "", None]):
            facts = some_facts(
                severity, labels={} if environment is None else {"kubernaut.ai/environment": environment}
            )
            found = await explainer.explain(facts)

            assert found.changes
            for change in found.changes:
                again = await explainer.explain(changed(facts, change.fact, change.value))
                assert {
                    each.name: each.value for each in again.answers if each.name in change.answers
                } == change.answers


def changed(facts, fact, value):
    """The facts with one value changed."""
    content = msgspec.to_builtins(facts)
    holder = content
    for parent in fact[:-1]:
        holder = holder.setdefault(parent, {})
    if value is None:
        del holder[fact[-1]]
    else:
        holder[fact[-1]] = value
    return msgspec.convert(content, DecisionFacts)


@pytest.mark.parametrize("path", sorted(POLICIES.glob("*.rego"))[::3], ids=lambda path: path.stem)
async def test_any_policy_is_explained_as_it_decides(path):
    rules = sources.from_text(path.read_text())
    facts = some_facts("critical", labels={"team": "a", "kubernaut.ai/environment": "staging"})
    async with open_policy(rules) as policy, open_explainer(rules) as explainer:
        decided = await policy.decide(policy_input(facts))
        found = await explainer.explain(facts)

    for name in ("environment", "severity", "priority"):
        each = answer(found, name)
        assert each.value == getattr(decided, name)
        assert bool(each.error) == (name in {failure.rule for failure in decided.failures})
        assert all(not other.error for other in each.others)
