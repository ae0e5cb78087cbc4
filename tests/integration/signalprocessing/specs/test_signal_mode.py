"""Alerts that predict something are handled as what they predict (BR-SP-106)."""

import pytest

from kubernaut.api.vocabulary import EventType
from support.suite.specs import payload

spec = pytest.mark.spec


async def processed(suite, name: str):
    """A completed signal of that name, and its mode, name and source name."""
    shop = await suite.namespace("mode", "production")
    done = await suite.completed(target=("Pod", "p", shop), name=name)
    found = done.status.signal_classification
    return done, (str(found.signal_mode), found.signal_name, found.source_signal_name)


async def audited(suite, name: str, event_type: EventType):
    """Mode and source name in the one audit event of a type."""
    done, _ = await processed(suite, name)
    (event,) = await suite.audited(done, event_type)
    data = payload(event)
    return data["signal_mode"], data.get("source_signal_name")


@spec("SM-01", "BR-SP-106")
async def test_predicted_oom(suite):
    """PredictedOOMKill is proactive, becomes OOMKilled and keeps its name."""
    assert (await processed(suite, "PredictedOOMKill"))[1] == ("proactive", "OOMKilled", "PredictedOOMKill")


@spec("SM-02", "BR-SP-106")
async def test_oom(suite):
    """OOMKilled is reactive and has no other name."""
    assert (await processed(suite, "OOMKilled"))[1] == ("reactive", "OOMKilled", "")


@spec("SM-03", "BR-SP-106")
async def test_predicted_throttling(suite):
    """PredictedCPUThrottling is proactive and becomes CPUThrottling."""
    found = (await processed(suite, "PredictedCPUThrottling"))[1]

    assert found == ("proactive", "CPUThrottling", "PredictedCPUThrottling")


@spec("SM-04", "BR-SP-106")
async def test_alert_of_ones_own(suite):
    """CustomAlertType is reactive and stays as it is."""
    assert (await processed(suite, "CustomAlertType"))[1] == ("reactive", "CustomAlertType", "")


@spec("SM-05", "BR-SP-106", "BR-SP-090")
async def test_mode_in_the_classification_event(suite):
    """The decision's audit event says proactive, and the name of the alert."""
    found = await audited(suite, "PredictedOOMKill", EventType.CLASSIFICATION_DECISION)

    assert found == ("proactive", "PredictedOOMKill")


@spec("SM-06", "BR-SP-106", "BR-SP-090")
async def test_mode_in_the_event_of_the_end(suite):
    """The last audit event says proactive, and the name of the alert."""
    assert await audited(suite, "PredictedOOMKill", EventType.SIGNAL_PROCESSED) == ("proactive", "PredictedOOMKill")


@spec("SM-07", "BR-SP-106", "BR-SP-090")
async def test_reactive_mode_is_audited(suite):
    """The audit event of a reactive signal says so, and has no other name."""
    assert await audited(suite, "OOMKilled", EventType.SIGNAL_PROCESSED) == ("reactive", None)


@spec("SM-08", "BR-SP-106", "BR-SP-110")
async def test_mode_in_the_condition(suite):
    """The condition's message says proactive and both names."""
    done, _ = await processed(suite, "PredictedOOMKill")

    message = done.status.condition("ClassificationComplete").message
    assert "signalMode=proactive" in message
    assert "PredictedOOMKill → OOMKilled" in message
