"""Every decision leaves audit events in DataStorage, in exact number (BR-SP-090)."""

from collections import Counter
from itertools import pairwise

import httpx2
import pytest

from kubernaut.api.vocabulary import EventType
from support.suite.objects import deployment, pod, replica_set
from support.suite.specs import payload

spec = pytest.mark.spec


@pytest.fixture(autouse=True)
async def healthy_datastorage(store):
    """DataStorage answers before each spec; a spec that skipped itself would show nothing."""
    async with httpx2.AsyncClient(trust_env=False, timeout=5) as http:
        health = await http.get(f"{store.url}/health")
    assert health.status_code == 200, f"DataStorage at {store.url} is not healthy: {health.status_code} {health.text}"


@spec("AU-01", "BR-SP-090")
async def test_processed_signal(suite):
    """One signal.processed: success, environment production, priority P0."""
    shop = await suite.namespace("audit", "production")
    await suite.create(pod("payment-pod-audit-01", shop))
    parent = await suite.request("audit-test-rr-01")

    done = await suite.completed(target=("Pod", "payment-pod-audit-01", shop), parent=parent, name="HighMemoryUsage")
    (event,) = await suite.audited(done, EventType.SIGNAL_PROCESSED)

    assert event.correlation_id == parent["metadata"]["name"]
    assert (event.event_action, event.event_outcome) == ("processed", "success")
    data = payload(event)
    assert (data["environment"], data["priority"], data["signal"]) == ("production", "P0", "HighMemoryUsage")


@spec("AU-02", "BR-SP-090", "BR-SP-105")
async def test_classification_decision(suite):
    """One classification.decision: environment staging, priority P2, both by their sources."""
    shop = await suite.namespace("audit", "staging")
    await suite.create(deployment("api-deployment-audit-02", shop))

    done = await suite.completed("warning", target=("Deployment", "api-deployment-audit-02", shop), name="HighCPUUsage")
    (event,) = await suite.audited(done, EventType.CLASSIFICATION_DECISION)

    assert (event.event_action, event.event_outcome) == ("classification", "success")
    data = payload(event)
    assert (data["environment"], data["environment_source"]) == ("staging", "labels")
    assert (data["priority"], data["priority_source"]) == ("P2", "rego")
    assert (data["external_severity"], data["normalized_severity"]) == ("warning", "warning")


@spec("AU-03", "BR-SP-090", "BR-SP-100")
async def test_enrichment(suite):
    """One enrichment.completed: namespace and pod were found, two owners, not degraded, with its duration."""
    shop = await suite.namespace("audit", "development")
    (top,) = await suite.create(deployment("worker-deployment", shop))
    (middle,) = await suite.create(replica_set("worker-rs-xyz", shop, owner=top))
    await suite.create(pod("worker-pod-audit-03", shop, owner=middle))

    done = await suite.completed("info", target=("Pod", "worker-pod-audit-03", shop), name="PodRestart")
    (event,) = await suite.audited(done, EventType.ENRICHMENT_COMPLETED)

    assert (event.event_action, event.event_outcome) == ("enrichment", "success")
    data = payload(event)
    assert (data["has_namespace"], data["has_pod"], data["degraded_mode"]) == (True, True, False)
    assert (data["has_deployment"], data["owner_chain_length"]) == (True, 2)
    assert event.duration_ms == data["duration_ms"] > 0


@spec("AU-04", "BR-SP-090")
async def test_phase_transitions(suite):
    """Exactly five phase.transition, from the first phase to the last, each once and in order."""
    shop = await suite.namespace("audit", "production")
    await suite.create(pod("test-pod-audit-04", shop))

    done = await suite.completed("warning", target=("Pod", "test-pod-audit-04", shop))
    events = await suite.audited(done, EventType.PHASE_TRANSITION, 5)

    assert {(event.event_action, event.event_outcome) for event in events} == {("phase_transition", "success")}
    trail = [event for event in await suite.trail(done) if event.event_type == EventType.PHASE_TRANSITION]
    moves = [(payload(event)["from_phase"], payload(event)["to_phase"]) for event in trail]
    phases = ["", "Pending", "Enriching", "Classifying", "Categorizing", "Completed"]
    assert moves == [*pairwise(phases)]


@spec("AU-05", "BR-SP-090", "ADR-038")
async def test_missing_pod_is_no_error(suite):
    """A pod that does not exist: the enrichment is recorded as degraded, no error is, and the signal is processed."""
    shop = await suite.namespace("audit", "production")

    done = await suite.completed(target=("Pod", "non-existent-pod-audit-05", shop))
    (enriched,) = await suite.audited(done, EventType.ENRICHMENT_COMPLETED)
    (processed,) = await suite.audited(done, EventType.SIGNAL_PROCESSED)
    await suite.audited(done, EventType.ERROR_OCCURRED, 0)

    assert payload(enriched)["degraded_mode"] is True
    assert processed.event_outcome == "success"


@spec("AU-06", "BR-SP-090", "BR-SP-002")
async def test_business_class(suite):
    """One business.classified: the business unit of the label `team`."""
    shop = await suite.namespace("audit", "production", team="payments")
    await suite.create(deployment("payment-deploy-audit-06", shop))

    done = await suite.completed(target=("Deployment", "payment-deploy-audit-06", shop), name="PaymentServiceDown")
    (event,) = await suite.audited(done, EventType.BUSINESS_CLASSIFIED)

    assert event.event_action == "classification"
    assert payload(event)["business_unit"] == "payments"


@spec("AU-07", "BR-SP-090", "BR-SP-001")
async def test_namespace_that_does_not_exist_is_no_error(suite):
    """A target in a namespace that does not exist degrades and never fails: the events say so, and none is an error."""
    done = await suite.completed(target=("Pod", "some-pod", suite.name("non-existent-namespace")))

    (enriched,) = await suite.audited(done, EventType.ENRICHMENT_COMPLETED)
    await suite.audited(done, EventType.ERROR_OCCURRED, 0)

    assert (payload(enriched)["degraded_mode"], payload(enriched)["has_pod"]) == (True, False)


@spec("AU-08", "BR-SP-090")
@pytest.mark.requirement("LESSON-11")
async def test_all_types_in_exact_number(suite):
    """Nine events: five transitions and one of each other type; their chain of hashes verifies."""
    shop = await suite.namespace("audit", "production")
    await suite.create(pod("complete-pod", shop))

    done = await suite.completed(target=("Pod", "complete-pod", shop))
    trail = await suite.trail(done)

    assert Counter(event.event_type for event in trail) == {
        EventType.PHASE_TRANSITION: 5,
        EventType.ENRICHMENT_COMPLETED: 1,
        EventType.CLASSIFICATION_DECISION: 1,
        EventType.BUSINESS_CLASSIFIED: 1,
        EventType.SIGNAL_PROCESSED: 1,
    }
    assert (await suite.store.client.verify(trail[0].correlation_id)).is_valid
