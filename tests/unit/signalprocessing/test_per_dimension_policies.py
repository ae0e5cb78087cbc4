"""Policies in one file per dimension."""

from pathlib import Path

import pytest

from kubernaut.api.vocabulary import Environment
from kubernaut.signalprocessing.policy.input import PolicyInput
from kubernaut.signalprocessing.policy.live import open_policy
from kubernaut.signalprocessing.policy.sources import Form, read
from support.signals import a_context, a_signal

ENVIRONMENT = """package signalprocessing.environment

import rego.v1

result := {"environment": lower(env), "confidence": 0.95, "source": "namespace-labels"} if {
	env := input.namespace.labels["kubernaut.ai/environment"]
	env != ""
}
"""
PRIORITY = """package signalprocessing.priority

import rego.v1

result := {"priority": "P0", "confidence": 0.95, "policy_name": "critical-production"} if {
	input.signal.severity == "critical"
	input.environment == "production"
}

result := {"priority": "P2", "confidence": 0.9, "policy_name": "warning-staging"} if {
	input.signal.severity == "warning"
	input.environment == "staging"
}
"""
LABELS = """package signalprocessing.%s

import rego.v1

labels["team"] := [team] if {
	team := input.kubernetes.namespace.labels["kubernaut.ai/team"]
}

labels["sourced"] := [input.signal.source]
"""
BUSINESS = """package signalprocessing.business

import rego.v1

result := {"business_unit": "payments", "service_owner": "ann", "criticality": "CRITICAL", "sla": "platinum"} if {
	input.environment == "production"
}
"""


def write(folder: Path, labels: str = "labels") -> None:
    (folder / "environment.rego").write_text(ENVIRONMENT)
    (folder / "priority.rego").write_text(PRIORITY)
    (folder / "business.rego").write_text(BUSINESS)
    (folder / "customlabels.rego").write_text(LABELS % labels)


def an_input(severity: str, environment: str, mapped: Environment | None = None) -> PolicyInput:
    context = a_context(environment, labels={"kubernaut.ai/team": "shop"})
    return PolicyInput(signal=a_signal(severity).spec.signal, context=context, mapped_environment=mapped)


async def test_all_four_files_decide_together(tmp_path: Path):
    write(tmp_path)
    sources = read(tmp_path)
    async with open_policy(sources) as policy:
        found = await policy.decide(an_input("critical", "Production"))

    assert sources.form is Form.PER_DIMENSION
    assert (found.environment, found.environment_source) == ("Production", "namespace-labels")
    assert (found.priority, found.policy_name, found.severity) == ("P0", "critical-production", "critical")
    assert found.custom_labels == {"team": ["shop"], "sourced": ["prometheus"]}
    assert (found.business.business_unit, found.business.criticality) == ("payments", "Critical")


async def test_mapped_environment_reaches_the_priority(tmp_path: Path):
    write(tmp_path, labels="customlabels")
    async with open_policy(read(tmp_path)) as policy:
        found = await policy.decide(an_input("warning", "", Environment.STAGING))

    assert (found.environment, found.environment_source) == ("Staging", "configmap")
    assert (found.priority, found.policy_name) == ("P2", "warning-staging")
    assert found.custom_labels["team"] == ["shop"]


@pytest.mark.requirement("BR-SP-071")
async def test_undefined_priority_falls_back_to_severity(tmp_path: Path):
    write(tmp_path)
    async with open_policy(read(tmp_path)) as policy:
        found = await policy.decide(an_input("critical", "qa"))

    assert (found.environment, found.priority, found.priority_source) == ("Unknown", "P1", "fallback-severity")


async def test_each_file_may_be_absent(tmp_path: Path):
    (tmp_path / "priority.rego").write_text(PRIORITY)
    async with open_policy(read(tmp_path)) as policy:
        found = await policy.decide(an_input("critical", "", Environment.PRODUCTION))

    assert (found.environment, found.priority) == ("Production", "P0")
    assert found.custom_labels == {"team": ["shop"]}


@pytest.mark.requirement("LESSON-09")
async def test_one_file_for_all_goes_first(tmp_path: Path):
    write(tmp_path)
    (tmp_path / "policy.rego").write_text("package signalprocessing\n")

    assert read(tmp_path).form is Form.UNIFIED
