"""The built-in policy, by table."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from kubernaut.api.signals import ClusterContext, KubernetesContext, WorkloadContext
from kubernaut.api.vocabulary import Environment
from kubernaut.gateway import folding
from kubernaut.signalprocessing.policy.input import PolicyInput
from kubernaut.signalprocessing.policy.live import PolicyVersion, open_policy
from kubernaut.signalprocessing.policy.process import Limits
from kubernaut.signalprocessing.policy.sources import builtin
from support.signals import a_context, a_signal


@pytest.fixture(params=["regorus", "regopy"])
async def policy(request: pytest.FixtureRequest) -> AsyncIterator[PolicyVersion]:
    """The built-in policy in the engine we use, and in the fallback."""
    async with open_policy(builtin(), Limits(evaluation_timeout=5.0, deadline=25.0), request.param) as opened:
        yield opened


def an_input(severity: str = "critical", environment: str = "production", **more) -> PolicyInput:
    return PolicyInput(signal=a_signal(severity).spec.signal, context=a_context(environment), **more)


SEVERITIES = {
    "critical": "critical sev1 P0 p1 CRITICAL Sev1 fatal disaster alert SEV-1 sev_0 P-1 emerg",
    "high": "high Sev2 p2 error High err severe Sev-2 urgent",
    "warning": "warning medium sev3 P3 Warn average moderate ticket",
    "info": "info low SEV4 P4 none Info debug ok Notice",
    "unknown": "whatever urgent! 7 critical,page - _",
}

SENDERS = {
    "Alertmanager, kube-prometheus": "critical: critical, warning: warning, info: info, none: info",
    "PagerDuty": "critical: critical, error: high, warning: warning, info: info",
    "Opsgenie, Datadog, Coralogix": "P1: critical, P2: high, P3: warning, P4: info, P5: info",
    "Datadog": "alert: critical, warn: warning, error: high, success: info",
    "Jira": "Highest: critical, High: high, Medium: warning, Low: info, Lowest: info, Blocker: critical, Trivial: info",
    "ServiceNow": "1 - Critical: critical, 2 - High: high, 3 - Moderate: warning, 4 - Low: info, 5 - Planning: info",
    "GitLab": "s1: critical, S2: high, s3: warning, s4: info",
    "SolarWinds": "Critical: critical, Serious: high, Warning: warning, Notice: info",
    "Azure Monitor, as the gateway reads it": "error: high, warning: warning, informational: info, verbose: info",
    "incident.io": "SEV0: critical, SEV1: critical, SEV2: high, SEV-3: warning, Severity 1: critical, Severity 4: info",
    "syslog": "emerg: critical, alert: critical, crit: critical, err: high, notice: info, debug: info",
    "Falco": "Emergency: critical, Error: high, Informational: info",
    "Google Cloud": "EMERGENCY: critical, CRITICAL: critical, ERROR: high, WARNING: warning, NOTICE: info, DEBUG: info",
    "Nagios, Icinga": "CRITICAL: critical, DOWN: critical, WARNING: warning, UNKNOWN: unknown, OK: info",
    "Netdata": "CRITICAL: critical, WARNING: warning, CLEAR: info",
    "Zabbix": "Disaster: critical, High: high, Average: warning, Warning: warning, Information: info",
    "ITU X.733": "critical: critical, major: high, minor: warning, cleared: info, indeterminate: unknown",
    "on-call teams": "page: critical, ticket: warning",
    "logging": "fatal: critical, panic: critical, trace: info, verbose: info",
    "numbers, whose order differs": "0: unknown, 1: unknown, 5: unknown",
}
"""What senders call severities, and what they become."""


def words_of(row: str) -> dict[str, str]:
    return dict(pair.split(": ") for pair in row.split(", "))


@pytest.mark.parametrize("sender", SENDERS)
async def test_each_senders_severities_keep_their_order(policy: PolicyVersion, sender: str):
    expected = words_of(SENDERS[sender])

    assert {word: (await policy.decide(an_input(word))).severity for word in expected} == expected


@pytest.mark.requirement("BR-SP-105")
@pytest.mark.requirement("LESSON-10")
async def test_severities_of_senders_in_any_case_are_normalized(policy: PolicyVersion):
    found = {
        word: (await policy.decide(an_input(word))).severity for words in SEVERITIES.values() for word in words.split()
    }

    assert found == {word: severity for severity, words in SEVERITIES.items() for word in words.split()}


async def test_the_gateway_and_the_policy_agree_which_of_two_severities_is_worse(policy: PolicyVersion):
    """Else an alert that became worse would fold into one that the policy takes for harmless."""
    ranks = {"critical": 3, "high": 2, "warning": 1, "info": 0, "unknown": 0}

    found = {word: ranks[(await policy.decide(an_input(word))).severity] for word in folding.RANK_OF}

    assert found == folding.RANK_OF


PRIORITIES = """
            critical high warning info nonsense
production  P0       P1   P1      P2   P2
staging     P1       P2   P2      P3   P2
development P2       P3   P3      P3   P3
test        P2       P3   P3      P3   P3
-           P1       P1   P2      P3   P2
"""


@pytest.mark.requirement("BR-SP-070")
async def test_priority_follows_environment_and_severity(policy: PolicyVersion):
    header, *rows = [line.split() for line in PRIORITIES.strip().splitlines()]

    found = []
    for environment, *_ in rows:
        answers = [await policy.decide(an_input(severity, environment.strip("-"))) for severity in header]
        found.append([environment, *(answer.priority.value for answer in answers)])

    assert found == rows


@pytest.mark.parametrize(
    ("label", "environment", "source"),
    [
        ("PRODUCTION", Environment.PRODUCTION, "namespace-labels"),
        ("Prod", Environment.PRODUCTION, "namespace-labels"),
        ("dev", Environment.DEVELOPMENT, "namespace-labels"),
        ("qa", Environment.UNKNOWN, "default"),
        ("", Environment.UNKNOWN, "default"),
    ],
)
@pytest.mark.requirement("BR-SP-051")
async def test_environment_comes_from_the_namespace_label(policy: PolicyVersion, label, environment, source):
    decision = await policy.decide(an_input(environment=label))

    assert (decision.environment, decision.environment_source) == (environment, source)
    assert decision.failures == ()


@pytest.mark.requirement("LESSON-28")
async def test_labels_of_the_workload_decide_no_environment(policy: PolicyVersion):
    workload = WorkloadContext(kind="Pod", name="api", labels={"kubernaut.ai/environment": "production"})
    context = msgspec.structs.replace(a_context(""), workload=workload)

    decision = await policy.decide(PolicyInput(signal=a_signal("info").spec.signal, context=context))

    assert (decision.environment, decision.environment_source) == (Environment.UNKNOWN, "default")


@pytest.mark.requirement("BR-SP-051")
@pytest.mark.requirement("LESSON-27")
async def test_labels_of_the_signal_decide_nothing(policy: PolicyVersion):
    signal = a_signal("info", labels={"kubernaut.ai/environment": "production", "kubernaut.ai/team": "mine"})

    decision = await policy.decide(PolicyInput(signal=signal.spec.signal, context=a_context("staging")))

    assert decision.environment is Environment.STAGING
    assert decision.custom_labels == {}


@pytest.mark.requirement("BR-SP-102")
async def test_team_labels_are_handed_on_and_the_namespace_goes_first(policy: PolicyVersion):
    workload = WorkloadContext(
        kind="Pod", name="x", labels={"kubernaut.ai/team": "theirs", "kubernaut.ai/region": "eu"}
    )
    namespace = a_context(labels={"kubernaut.ai/team": "payments"}).namespace
    context = KubernetesContext(namespace=namespace, workload=workload)

    decision = await policy.decide(PolicyInput(signal=a_signal().spec.signal, context=context))

    assert decision.custom_labels == {"team": ["payments"], "region": ["eu"]}


async def test_cluster_is_classified_by_its_registry_label(policy: PolicyVersion):
    context = KubernetesContext(cluster=ClusterContext(labels={"environment": "edge"}))

    decision = await policy.decide(PolicyInput(signal=a_signal().spec.signal, context=context))

    assert decision.cluster == "edge"


@pytest.mark.requirement("BR-SP-053")
async def test_target_without_any_context_is_decided_all_the_same(policy: PolicyVersion):
    decision = await policy.decide(
        PolicyInput(signal=a_signal().spec.signal, context=KubernetesContext(degraded_mode=True))
    )

    assert (decision.environment, decision.priority, decision.failures) == (Environment.UNKNOWN, "P1", ())
