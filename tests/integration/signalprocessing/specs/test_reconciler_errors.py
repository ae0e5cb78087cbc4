"""Errors of what the controller depends on; each is really provoked."""

import asyncio
from contextlib import suppress

import pytest
from starlette.responses import Response

from kubernaut.api.vocabulary import EventType, Phase
from kubernaut.kube.errors import Invalid
from kubernaut.kube.objects import Key
from kubernaut.signalprocessing.kinds import SIGNAL
from support.signalprocessing import RAW
from support.signals import an_object
from support.suite.api_proxy import open_api_proxy, rejection
from support.suite.objects import disruption_budget, pod
from support.suite.polling import eventually
from support.suite.specs import payload

spec = pytest.mark.spec
WRITES = "signalprocessing_status_writes_total"


@pytest.fixture
async def proxy(own_suite, tmp_path):
    async with open_api_proxy(own_suite.cluster.kubeconfig, tmp_path) as proxy:
        yield proxy


@spec("RX-01", "BR-SP-111")
async def test_api_server_that_does_not_answer_is_asked_again(own_suite, open_controller, proxy):
    """The first read of the target ends in 504: the phase is retried after its back-off, the signal completes, and
    the failure stands in the audit trail once."""
    suite, failures = own_suite, [rejection(504, "Timeout")]
    shop = await suite.namespace("reconciler", "production")
    await suite.cluster.create(an_object("ConfigMap", "settings", shop))

    async def fail_once(request) -> Response | None:
        return failures.pop() if failures and request.url.path.endswith(f"/{shop}/configmaps/settings") else None

    proxy.intercept = fail_once
    async with open_controller(kubeconfig=proxy.kubeconfig):
        done = await suite.completed(target=("ConfigMap", "settings", shop))
        (error,) = await suite.audited(done, EventType.ERROR_OCCURRED)

    assert (done.status.kubernetes_context.degraded_mode, done.status.failure_info) == (False, None)
    assert error.event_outcome == "failure"
    assert payload(error)["phase"] == "Enriching"


@spec("RX-02", "DD-STATUS-001")
@pytest.mark.requirement("LESSON-05")
async def test_conflicting_status_write_is_repeated(own_suite, open_controller, proxy):
    """Another writer changes the object between read and write, once: one conflict, one success, nine audit events."""
    suite, competitors = own_suite, ["another writer"]
    shop = await suite.namespace("reconciler", "production")

    async def compete(request) -> Response | None:
        if request.method == "PATCH" and "/signalprocessings/" in request.url.path and competitors:
            where = Key(suite.home, request.url.path.split("/")[-2])
            change = {"metadata": {"annotations": {"writer": competitors.pop()}}}
            await suite.cluster.patch("SignalProcessing", where, change)
        return None

    proxy.intercept = compete
    async with open_controller(kubeconfig=proxy.kubeconfig) as controller:
        done = await suite.completed(target=("Pod", "test-pod", shop))
        trail = await suite.trail(done)
        writes = {
            result: controller.registry.get_sample_value(WRITES, {"result": result})
            for result in ("conflict", "success")
        }

    assert done.metadata.annotations == {"writer": "another writer"}
    assert writes == {"conflict": 1, "success": 1}
    assert len(trail) == 9


@spec("RX-03", "BR-SP-090")
async def test_controller_that_is_stopped_amid_a_write_ends_and_its_successor_completes(
    own_suite, open_controller, proxy
):
    """A status write that gets no answer does not hold up the end of the controller; the next one completes the
    signal, and each audit event is there once."""
    suite, writing = own_suite, asyncio.Event()
    shop = await suite.namespace("reconciler", "production")

    async def never_answer(request) -> Response | None:
        if request.method == "PATCH":
            writing.set()
            with suppress(asyncio.CancelledError):
                await asyncio.wait_for(asyncio.Event().wait(), 8)
            return rejection(504, "Timeout")
        return None

    proxy.intercept = never_answer
    async with asyncio.timeout(30):
        async with open_controller(kubeconfig=proxy.kubeconfig):
            key = await suite.signal(target=("Pod", "test-pod", shop))
            await writing.wait()
    assert (await suite.cluster.get(key)).status.phase is None
    async with open_controller():
        done = await suite.final(key)
        trail = await suite.trail(done)

    assert done.status.phase is Phase.COMPLETED
    assert len(trail) == len({event.event_id for event in trail}) == 9


@spec("RX-04", "BR-SP-072")
async def test_broken_policy_file_decides_nothing(suite, policies):
    """A policy file that is no Rego is rejected; the signal completes by the version before it."""
    shop = await suite.namespace("reconciler", "production")
    before = suite.controller.service.policy.current.hash

    await policies.reject("package signalprocessing\nthis is not rego {{{")
    done = await suite.completed(target=("Pod", "test-pod", shop))

    assert done.status.signal_classification.policy_hash == before
    assert done.status.condition("ClassificationComplete").reason == "ClassificationSucceeded"


@spec("RX-05", "BR-SP-103")
@pytest.mark.requirement("LESSON-11")
async def test_denied_access_is_a_failed_detection(own_suite, open_controller, proxy):
    """PodDisruptionBudgets may not be listed: the signal completes, and `pdbProtected` stands among failedDetections
    although a budget protects the pod."""
    suite = own_suite
    shop = await suite.namespace("reconciler", "production")
    await suite.cluster.create(pod("pdb-pod", shop, labels={"app": "x"}), disruption_budget("pdb", shop, app="x"))

    async def deny(request) -> Response | None:
        return rejection(403, "Forbidden") if "poddisruptionbudgets" in request.url.path else None

    proxy.intercept = deny
    async with open_controller(kubeconfig=proxy.kubeconfig):
        done = await suite.completed(target=("Pod", "pdb-pod", shop))

    detected = done.status.kubernetes_context.detected_labels
    assert (detected.pdb_protected, detected.failed_detections) == (False, ["pdbProtected"])


@spec("RX-06", "ADR-038", "BR-SP-090")
async def test_signal_completes_while_nothing_can_be_audited(own_suite, open_controller):
    """DataStorage refuses every connection: the signal completes, its nine events wait on disk, and the next
    controller delivers them."""
    suite = own_suite
    shop = await suite.namespace("reconciler", "production")
    nowhere = f"http://127.0.0.1:{suite.workspace.port()}"
    async with open_controller(url=nowhere, drain_timeout=0.1) as controller:
        done = await suite.completed(target=("Pod", "test-pod", shop))
        waiting = 10  # nine of the signal, and the one of the policy that was loaded
        await eventually(lambda: controller.store.waiting == waiting, description=f"{waiting} events wait")
        assert controller.store.dropped == 0

    async with open_controller():
        trail = await suite.trail(done)

    assert len(trail) == 9


@spec("RX-07", "DD-CRD-001")
async def test_signal_without_a_fingerprint_is_rejected(suite):
    """An empty fingerprint does not fit the CRD's pattern: the API server rejects the object, and none is made."""
    shop = await suite.namespace("reconciler")
    parent = await suite.request()
    manifest = suite.manifest("critical", target=("Pod", "p", shop), parent=parent, fingerprint="")

    with pytest.raises(Invalid, match="fingerprint"):
        await suite.client.create(SIGNAL, manifest)

    names = [signal["metadata"]["name"] for signal in (await suite.client.list(RAW["SignalProcessing"])).items]
    assert manifest["metadata"]["name"] not in names
