"""The policy puts the senders' words for severity into ours (BR-SP-105)."""

import asyncio

import pytest

from kubernaut.api.vocabulary import EventType
from support.suite.specs import payload, priority
from support.suite.worker import suite_policy

spec = pytest.mark.spec


async def classified(suite, severity: str, **fields):
    """The status of a completed signal of that severity."""
    shop = await suite.namespace("severity", "production")
    return await suite.completed(severity, target=("Pod", "p", shop), **fields)


@spec("SV-01", "BR-SP-105")
async def test_sev1_is_critical(suite):
    """Sev1 is critical, by the policy's map and not by its default."""
    done = await classified(suite, "Sev1")

    found = done.status.signal_classification
    assert (found.severity, found.severity_source) == ("critical", "rego-policy")


@spec("SV-02", "BR-SP-105")
async def test_word_of_the_sender_stays_in_the_spec(suite):
    """P0 is critical in the status and stays P0 in the spec."""
    done = await classified(suite, "P0")

    assert (done.spec.signal.severity, done.status.signal_classification.severity) == ("P0", "critical")


@spec("SV-03", "BR-SP-105", "BR-SP-072")
async def test_policy_learns_a_word(suite, policies):
    """CUSTOM_VALUE means nothing until the policy has a line for it."""
    before = await classified(suite, "CUSTOM_VALUE")
    await policies.apply(
        suite_policy().replace('"sev1": "critical",', '"sev1": "critical", "custom_value": "warning",')
    )
    after = await classified(suite, "CUSTOM_VALUE")

    assert before.status.signal_classification.severity == "unknown"
    assert after.status.signal_classification.severity == "warning"


@spec("SV-04", "BR-SP-105", "BR-SP-090")
async def test_decision_on_the_severity_is_audited(suite):
    """One classification.decision for Sev2: the word, its meaning, who decided, how long it took."""
    done = await classified(suite, "Sev2")
    (event,) = await suite.audited(done, EventType.CLASSIFICATION_DECISION)

    data = payload(event)
    assert (data["external_severity"], data["normalized_severity"]) == ("Sev2", "high")
    assert data["determination_source"] == "rego-policy"
    assert event.duration_ms > 0


@spec("SV-05", "BR-SP-105", "BR-SP-071")
async def test_unmapped_word_falls_back(suite):
    """UNMAPPED_VALUE_999: severity unknown by fallback, in the status, its condition and the audit event."""
    done = await classified(suite, "UNMAPPED_VALUE_999")
    (event,) = await suite.audited(done, EventType.CLASSIFICATION_DECISION)

    found = done.status.signal_classification
    assert (found.severity, found.severity_source) == ("unknown", "fallback")
    assert done.status.condition("ClassificationComplete").reason == "PolicyFallback"
    assert payload(event)["determination_source"] == "fallback"


@spec("SV-06", "BR-SP-105")
async def test_hash_names_the_policy(suite):
    """The hash in status and audit event is that of the policy in force: 64 digits in hex."""
    done = await classified(suite, "Sev3")
    (event,) = await suite.audited(done, EventType.CLASSIFICATION_DECISION)

    found = done.status.signal_classification.policy_hash
    assert found == suite.controller.service.policy.current.hash == payload(event)["policy_hash"]
    assert (len(found), set(found) <= set("0123456789abcdef")) == (64, True)


@spec("SV-07", "BR-SP-105", "BR-SP-071")
async def test_answer_that_is_no_severity_never_loses_the_signal(suite):
    """A policy that answers "no-severity": Completed by fallback, and the condition quotes the answer."""
    done = await classified(suite, "trigger-error")

    assert done.status.signal_classification.severity == "unknown"
    condition = done.status.condition("ClassificationComplete")
    assert condition.reason == "PolicyFallback"
    assert "no-severity" in condition.message


@spec("SV-08", "BR-SP-105", "BR-SP-090")
async def test_policy_error_fails_the_signal_where_that_is_wanted(own_suite, open_controller):
    """`onPolicyError: fail`: Failed with the policy's error, no severity, and exactly one error.occurred."""
    async with open_controller(on_policy_error="fail"):
        key = await own_suite.signal("trigger-error", target=("Pod", "p", own_suite.home))
        done = await own_suite.final(key)
        (event,) = await own_suite.audited(done, EventType.ERROR_OCCURRED)

    assert (str(done.status.phase), done.status.signal_classification) == ("Failed", None)
    assert "policy evaluation failed" in done.status.failure_info.error
    assert (event.event_outcome, "policy evaluation failed" in payload(event)["error"]) == ("failure", True)


@spec("SV-09", "BR-SP-105", "BR-SP-072")
async def test_changed_meaning_takes_effect(suite, policies):
    """sev4 is info until the policy says warning; the priority follows."""
    before = await classified(suite, "sev4")
    await policies.apply(suite_policy().replace('"sev4": "info"', '"sev4": "warning"'))
    after = await classified(suite, "sev4")

    assert (before.status.signal_classification.severity, priority(before)[0]) == ("info", "P3")
    assert (after.status.signal_classification.severity, priority(after)[0]) == ("warning", "P1")


@spec("SV-10", "BR-SP-105")
async def test_several_severities_at_once(suite):
    """Sev1 to Sev4 and one more at once: each gets its own meaning."""
    words = {"Sev1": "critical", "Sev2": "high", "Sev3": "warning", "Sev4": "info", "P1": "critical"}

    done = await asyncio.gather(*(classified(suite, word) for word in words))

    found = {signal.spec.signal.severity: str(signal.status.signal_classification.severity) for signal in done}
    assert found == words
