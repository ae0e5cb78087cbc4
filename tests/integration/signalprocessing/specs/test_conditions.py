"""Conditions (BR-SP-110), failures in a row (BR-SP-111), Kubernetes Events (BR-SP-095), the deadline."""

from datetime import UTC, datetime, timedelta

import pytest

from support.suite.objects import deployment, pod
from support.suite.polling import eventually

spec = pytest.mark.spec
FOUR = {"EnrichmentComplete", "ClassificationComplete", "CategorizationComplete", "ProcessingComplete"}


@spec("CN-01", "BR-SP-110")
async def test_conditions_of_a_completed_signal(suite):
    """The four conditions of the phases are True, and Ready is; there are no others."""
    shop = await suite.namespace("conditions", "production")
    await suite.create(deployment("api", shop))

    done = await suite.completed(target=("Deployment", "api", shop))

    assert {condition.type: str(condition.status) for condition in done.status.conditions} == dict.fromkeys(
        [*FOUR, "Ready"], "True"
    )


@spec("CN-02", "BR-SP-110")
async def test_messages_of_the_conditions(suite):
    """Each message says what its phase came to."""
    shop = await suite.namespace("conditions", "production", team="payments")
    await suite.create(deployment("api", shop))

    done = await suite.completed(target=("Deployment", "api", shop))

    def message(type: str) -> str:
        return done.status.condition(type).message

    assert message("EnrichmentComplete") == f"K8s context enriched: Deployment {shop}/api"
    assert "environment=Production" in message("ClassificationComplete")
    assert "priority=P0" in message("ClassificationComplete")
    assert "businessUnit=payments" in message("CategorizationComplete")
    assert "processed successfully" in message("ProcessingComplete")


@spec("BO-01", "BR-SP-111")
async def test_success_leaves_no_failure(suite):
    """After success nothing is said of failures."""
    shop = await suite.namespace("failures", "production")

    assert (await suite.completed(target=("Pod", "p", shop))).status.failure_info is None


@spec("BO-02", "BR-SP-111")
async def test_new_signal_has_no_failure(own_suite):
    """A signal that no controller has seen has neither phase nor failure."""
    key = await own_suite.signal(target=("Pod", "p", own_suite.home))

    status = (await own_suite.cluster.get(key)).status

    assert (status.phase, status.failure_info, status.conditions) == (None, None, [])


@spec("BO-03", "BR-SP-111", "BR-SP-110")
async def test_conditions_are_true_and_failures_none(suite):
    """After all phases the four conditions are True, and no failure is left."""
    shop = await suite.namespace("failures", "staging")

    status = (await suite.completed("warning", target=("Pod", "p", shop))).status

    assert {c.type for c in status.conditions if str(c.status) == "True"} >= FOUR
    assert status.failure_info is None


@spec("BO-04", "BR-SP-111")
async def test_failure_is_readable_where_there_is_one(suite):
    """A signal beyond its deadline: the failure's text and time stand in the status."""
    done = await _timed_out(suite)

    assert "timed out" in done.status.failure_info.error
    assert done.status.failure_info.last_failure_time == done.status.completion_time


@spec("TO-01", "DD-TIMEOUT-002")
async def test_deadline_in_the_past(suite):
    """timesOutAt a minute ago: Failed, ProcessingComplete False with reason TimedOut, and one Event that says so."""
    done = await _timed_out(suite)

    condition = done.status.condition("ProcessingComplete")
    assert (done.status.phase, str(condition.status), condition.reason) == ("Failed", "False", "TimedOut")
    await _reasons(suite, done, ["ProcessingTimedOut"])


async def _timed_out(suite):
    shop = await suite.namespace("timeout", "production")
    past = (datetime.now(UTC) - timedelta(minutes=1)).isoformat(timespec="seconds").replace("+00:00", "Z")
    return await suite.final(await suite.signal(target=("Pod", "p", shop), spec={"timesOutAt": past}))


async def _reasons(suite, signal, expected: list[str]) -> None:
    """The Events about a signal have these reasons, transitions apart, and no others."""

    async def recorded() -> bool:
        reasons = [event["reason"] for event in await suite.kubernetes_events(signal)]
        return sorted(reason for reason in reasons if reason != "PhaseTransition") == sorted(expected)

    await eventually(recorded, description=f"the Events are {expected}")


async def _transitions(suite, signal) -> int:
    events = await suite.kubernetes_events(signal)
    return sum(event["reason"] == "PhaseTransition" for event in events)


@spec("EV-01", "BR-SP-095")
async def test_events_of_a_complete_signal(suite):
    """SignalEnriched, SignalProcessed, and one PhaseTransition for each of the four steps."""
    shop = await suite.namespace("events", "production")
    await suite.create(pod("there", shop))

    done = await suite.completed(target=("Pod", "there", shop))

    await _reasons(suite, done, ["SignalEnriched", "SignalProcessed"])
    assert await _transitions(suite, done) == 4


@spec("EV-02", "BR-SP-095")
async def test_event_of_a_failing_policy(suite):
    """A severity that is none: the Warning PolicyEvaluationFailed beside those of a complete signal."""
    shop = await suite.namespace("events", "production")
    await suite.create(pod("there", shop))

    done = await suite.completed("trigger-error", target=("Pod", "there", shop))

    await _reasons(suite, done, ["SignalEnriched", "PolicyEvaluationFailed", "SignalProcessed"])


@spec("EV-03", "BR-SP-095")
async def test_event_of_a_degraded_signal(suite):
    """A missing pod: the Warning EnrichmentDegraded and no SignalEnriched."""
    shop = await suite.namespace("events", "production")

    done = await suite.completed(target=("Pod", "absent", shop))

    await _reasons(suite, done, ["EnrichmentDegraded", "SignalProcessed"])
