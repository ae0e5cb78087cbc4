"""Results of a policy: which are accepted, and what replaces the others."""

import pytest

from kubernaut.api.vocabulary import Environment
from kubernaut.signalprocessing.policy import decision
from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy.input import PolicyInput
from kubernaut.signalprocessing.policy.protocol import Evaluation, RuleError
from kubernaut.signalprocessing.policy.sources import Form
from support.signals import a_context, a_signal

GOOD = {
    "environment": [{"environment": "Production", "source": "namespace-labels"}],
    "severity": ["high"],
    "priority": [{"priority": "P1", "policy_name": "mine"}],
}


def an_input(severity: str = "critical", mapped: Environment | None = None) -> PolicyInput:
    return PolicyInput(signal=a_signal(severity).spec.signal, context=a_context(""), mapped_environment=mapped)


def decided(results: dict, about: PolicyInput | None = None, errors: dict | None = None, form: Form = Form.UNIFIED):
    evaluation = Evaluation(results=GOOD | results, errors=errors or {})
    return decision.decide(evaluation, about or an_input(), "0" * 64, form)


def test_valid_results_are_accepted():
    found = decided({})

    assert (found.environment, found.severity, found.priority, found.policy_name) == (
        "Production",
        "high",
        "P1",
        "mine",
    )
    assert (found.severity_source, found.priority_source) == ("rego-policy", "rego-policy")
    assert found.failures == ()


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([], "no severity determined by policy"),
        ([3], "policy returned non-string severity: int"),
        (["Critical"], 'policy returned invalid severity "Critical"'),
    ],
)
def test_invalid_severity_falls_back_to_unknown(result, message):
    found = decided({"severity": result})

    assert (found.severity, found.severity_source) == ("unknown", "fallback")
    assert message in found.required_failure.message


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([], "priority policy returned no results"),
        (["P0"], "invalid output structure"),
        ([{"priority": "P9"}], "invalid priority value: P9"),
        ([{}], "invalid priority value: null"),
    ],
)
@pytest.mark.parametrize(("severity", "priority"), [("high", "P1"), ("warning", "P2"), ("info", "P3")])
@pytest.mark.requirement("BR-SP-071")
def test_invalid_priority_falls_back_to_severity(result, message, severity, priority):
    found = decided({"priority": result, "severity": [severity]})

    assert (found.priority, found.priority_source) == (priority, "fallback-severity")
    assert message in found.required_failure.message


@pytest.mark.parametrize(
    ("raw", "priority"), [("Critical", "P1"), ("medium", "P2"), ("low", "P3"), ("what?", "P2"), ("HIGH", "P1")]
)
def test_without_any_result_the_senders_severity_ranks_the_signal(raw, priority):
    found = decision.fallback_decision(PolicyError("it is gone"), an_input(raw, Environment.STAGING), "0" * 64)

    assert (found.environment, found.environment_source) == ("Staging", "configmap")
    assert (found.severity, found.priority, found.priority_source) == ("unknown", priority, "fallback-severity")
    assert [failure.rule for failure in found.failures] == ["environment", "severity", "priority", "labels"]


@pytest.mark.parametrize(
    "result",
    [
        [{"environment": "qa", "source": "mine"}],
        [{"source": "mine"}],
        ["production"],
        [{"environment": 3}],
    ],
)
@pytest.mark.requirement("DEFECT-02")
def test_free_text_environment_is_an_error_and_the_mapping_decides(result):
    found = decided({"environment": result}, an_input(mapped=Environment.TEST))

    assert (found.environment, found.environment_source) == ("Test", "configmap")
    assert found.required_failure.rule == "environment"


@pytest.mark.requirement("LESSON-08")
def test_times_that_a_policy_returns_are_not_read():
    times = {"classified_at": "yesterday", "assigned_at": 0}

    found = decided(
        {
            "environment": [{"environment": "Test", "source": "x", **times}],
            "priority": [{"priority": "P2", "policy_name": "mine", **times}],
        }
    )

    assert (found.environment, found.priority, found.failures) == ("Test", "P2", ())


@pytest.mark.parametrize(
    "result", [[], [{"environment": "unknown"}], [{"environment": "Unknown", "source": "default"}]]
)
def test_open_environment_is_no_error_and_the_mapping_decides(result):
    assert decided({"environment": result}).environment_source == "default"
    found = decided({"environment": result}, an_input(mapped=Environment.STAGING))

    assert (found.environment, found.environment_source) == ("Staging", "configmap")
    assert found.failures == ()


def test_unknown_with_a_source_of_the_policys_own_is_its_decision():
    result = [{"environment": "unknown", "source": "rego-inference"}]

    found = decided({"environment": result}, an_input(mapped=Environment.STAGING))

    assert (found.environment, found.environment_source) == ("Unknown", "rego-inference")


def test_failed_rule_names_file_line_and_column():
    error = RuleError(message="could not parse string as number", file="policy.rego", line=3, column=24)

    found = decided({}, errors={"severity": error})

    assert found.required_failure.message.endswith("severity: policy.rego:3:24: could not parse string as number")


def test_invalid_labels_or_cluster_are_not_required():
    found = decided({"labels": ["text"], "cluster": [7]})

    assert found.required_failure is None
    assert [failure.rule for failure in found.failures] == ["labels", "cluster"]


def test_per_dimension_policies_copy_the_senders_severity():
    found = decided({"severity": [], "business": []}, an_input("warning"), form=Form.PER_DIMENSION)

    assert (found.severity, found.severity_source, found.failures) == ("warning", "fallback", ())
