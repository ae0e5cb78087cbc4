"""What earlier attempts at the same remediation came to (BR-SP-003)."""

from datetime import UTC, datetime, timedelta

import pytest

spec = pytest.mark.spec
API = {"apiVersion": "kubernaut.ai/v1alpha1", "kind": "RemediationRequest"}


@spec("RR-01", "BR-SP-003")
async def test_first_attempt_has_no_recovery_context(suite):
    """recoveryAttempts 0: no recovery context."""
    shop = await suite.namespace("recovery")
    parent = await suite.request("test-rr-first", recoveryAttempts=0)

    done = await suite.completed(target=("Pod", "test-pod", shop), parent=parent)

    assert done.status.recovery_context is None


@spec("RR-02", "BR-SP-003")
async def test_third_attempt_has_the_history_of_the_request(suite):
    """Three attempts since five minutes: count, request, reason and age are in the status."""
    shop = await suite.namespace("recovery")
    start = datetime.now(UTC) - timedelta(minutes=5)
    parent = await suite.request(
        "test-rr-retry",
        recoveryAttempts=3,
        startTime=start.isoformat().replace("+00:00", "Z"),
        failureReason="PreviousExecutionTimedOut",
        deduplication={"occurrenceCount": 3},
    )

    done = await suite.completed(target=("Pod", "test-pod", shop), parent=parent)

    found = done.status.recovery_context
    assert (found.attempt_count, found.previous_remediation_id) == (3, parent["metadata"]["name"])
    assert found.last_failure_reason == "PreviousExecutionTimedOut"
    assert _seconds(found.time_since_first_failure) == pytest.approx(300, abs=30)


def _seconds(duration: str) -> int:
    minutes, _, seconds = duration.removesuffix("s").partition("m")
    return int(minutes) * 60 + int(seconds)


@spec("RR-03", "BR-SP-003")
async def test_request_that_does_not_exist_is_no_obstacle(suite):
    """The parent cannot be found: no recovery context, and Completed."""
    shop = await suite.namespace("recovery")

    done = await suite.completed(target=("Pod", "test-pod", shop), parent=_missing(suite.name("non-existent-rr")))

    assert done.status.recovery_context is None


@spec("RR-04", "BR-SP-003")
async def test_bare_reference_has_no_recovery_context(suite):
    """A reference that holds nothing but a name, which is all that the CRD requires: no recovery context."""
    shop = await suite.namespace("recovery")
    manifest = suite.manifest("critical", target=("Pod", "p", shop), parent=_missing(suite.name("dummy")))
    reference = manifest["spec"]["remediationRequestRef"]
    manifest["spec"]["remediationRequestRef"] = {"name": reference["name"]}
    (created,) = await suite.cluster.create(manifest)

    done = await suite.final(suite.key(created))

    assert (done.status.phase, done.status.recovery_context) == ("Completed", None)


def _missing(name: str):
    return API | {"metadata": {"name": name}}
