"""Answers of a policy: what is accepted, and what becomes of the rest."""

import pytest

from kubernaut.api.vocabulary import Environment
from kubernaut.signalprocessing.policy import decision
from kubernaut.signalprocessing.policy.facts import Facts
from kubernaut.signalprocessing.policy.sources import Form
from kubernaut.signalprocessing.policy.worker import Fault, Reply
from support.signals import a_context, a_signal

GOOD = {
    "environment": [{"environment": "Production", "source": "namespace-labels"}],
    "severity": ["high"],
    "priority": [{"priority": "P1", "policy_name": "mine"}],
}


def facts(severity: str = "critical", mapped: Environment | None = None) -> Facts:
    return Facts(signal=a_signal(severity).spec.signal, context=a_context(""), mapped=mapped)


def decided(answers: dict, about: Facts | None = None, faults: dict | None = None, form: Form = Form.UNIFIED):
    reply = Reply(answers=GOOD | answers, faults=faults or {})
    return decision.decide(reply, about or facts(), "0" * 64, form)


def test_good_answers_are_taken():
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
    ("answer", "message"),
    [
        ([], "no severity determined by policy"),
        ([3], "policy returned non-string severity: int"),
        (["Critical"], 'policy returned invalid severity "Critical"'),
    ],
)
def test_bad_severity_falls_back_to_unknown(answer, message):
    found = decided({"severity": answer})

    assert (found.severity, found.severity_source) == ("unknown", "fallback")
    assert message in found.vital_failure.message


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([], "priority policy returned no results"),
        (["P0"], "invalid output structure"),
        ([{"priority": "P9"}], "invalid priority value: P9"),
        ([{}], "invalid priority value: None"),
    ],
)
@pytest.mark.parametrize(("severity", "priority"), [("high", "P1"), ("warning", "P2"), ("info", "P3")])
def test_bad_priority_falls_back_to_severity(answer, message, severity, priority):
    found = decided({"priority": answer, "severity": [severity]})

    assert (found.priority, found.priority_source) == (priority, "fallback-severity")
    assert message in found.vital_failure.message


@pytest.mark.parametrize(
    ("raw", "priority"), [("Critical", "P1"), ("medium", "P2"), ("low", "P3"), ("what?", "P2"), ("HIGH", "P1")]
)
def test_without_any_answer_the_senders_word_ranks_the_signal(raw, priority):
    found = decision.without_policy("it is gone", facts(raw, Environment.STAGING), "0" * 64)

    assert (found.environment, found.environment_source) == ("Staging", "configmap")
    assert (found.severity, found.priority, found.priority_source) == ("unknown", priority, "fallback-severity")
    assert [failure.rule for failure in found.failures] == ["environment", "severity", "priority", "labels"]


@pytest.mark.parametrize(
    "answer",
    [
        [{"environment": "qa", "source": "mine"}],
        [{"source": "mine"}],
        ["production"],
        [{"environment": 3}],
    ],
)
def test_free_text_environment_is_an_error_and_the_mapping_decides(answer):
    found = decided({"environment": answer}, facts(mapped=Environment.TEST))

    assert (found.environment, found.environment_source) == ("Test", "configmap")
    assert found.vital_failure.rule == "environment"


@pytest.mark.parametrize(
    "answer", [[], [{"environment": "unknown"}], [{"environment": "Unknown", "source": "default"}]]
)
def test_open_environment_is_no_error_and_the_mapping_decides(answer):
    assert decided({"environment": answer}).environment_source == "default"
    found = decided({"environment": answer}, facts(mapped=Environment.STAGING))

    assert (found.environment, found.environment_source) == ("Staging", "configmap")
    assert found.failures == ()


def test_unknown_with_a_source_of_the_policys_own_is_its_decision():
    answer = [{"environment": "unknown", "source": "rego-inference"}]

    found = decided({"environment": answer}, facts(mapped=Environment.STAGING))

    assert (found.environment, found.environment_source) == ("Unknown", "rego-inference")


def test_rule_that_failed_says_where():
    fault = Fault(message="could not parse string as number", file="policy.rego", line=3, column=24)

    found = decided({}, faults={"severity": fault})

    assert found.vital_failure.message.endswith("severity: policy.rego:3:24: could not parse string as number")


def test_bad_labels_or_cluster_are_never_vital():
    found = decided({"labels": ["text"], "cluster": [7]})

    assert found.vital_failure is None
    assert [failure.rule for failure in found.failures] == ["labels", "cluster"]


def test_policies_of_december_copy_the_senders_severity():
    found = decided({"severity": [], "business": []}, facts("warning"), form=Form.DECEMBER)

    assert (found.severity, found.severity_source, found.failures) == ("warning", "fallback", ())
