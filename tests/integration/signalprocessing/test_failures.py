"""What the controller does when others write, policies break, and processes die."""

import asyncio
import os
import signal as signals
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from kubernaut.api.vocabulary import Phase
from kubernaut.kube.errors import Invalid
from kubernaut.kube.objects import Key
from kubernaut.signalprocessing.kinds import SIGNAL
from kubernaut.signalprocessing.policy.errors import PolicyError
from support.eventually import eventually
from support.signals import a_namespace, a_signal, an_object, as_manifest


def a_policy(name: str) -> str:
    """A policy of which every answer tells the version."""
    return f"""package signalprocessing

import rego.v1

environment := {{"environment": "Test", "source": "{name}"}}

severity := "info"

priority := {{"priority": "P3", "policy_name": "{name}"}}

labels := {{"version": ["{name}"]}}
"""


def versions(done) -> set[str]:
    status = done.status
    labels = status.kubernetes_context.custom_labels["version"]
    return {status.environment_classification.source, status.priority_assignment.policy_name, *labels}


@pytest.fixture
async def shop(cluster) -> str:
    name = cluster.name("shop")
    await cluster.create(
        a_namespace(name, "production"), an_object("Service", "api", name, spec={"ports": [{"port": 80}]})
    )
    return name


def a_service_signal(shop: str, **more):
    return a_signal(kind="Service", target="api", at=shop, **more)


async def test_one_signal_is_decided_by_one_policy_version(cluster, open_controller, shop, tmp_path: Path):
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "policy.rego").write_text(a_policy("v0"))
    async with open_controller(policy_dir=policies) as controller:
        keys = []
        for version in range(1, 5):
            keys += await asyncio.gather(*(cluster.signal(a_service_signal(shop)) for _ in range(10)))
            controller.policy.changed.clear()
            (policies / "policy.rego").write_text(a_policy(f"v{version}"))
            await asyncio.wait_for(controller.policy.changed.wait(), 10)
        keys.append(await cluster.signal(a_service_signal(shop)))
        done = [await cluster.final(key) for key in keys]

    assert {len(versions(each)) for each in done} == {1}
    assert len({each.status.signal_classification.policy_hash for each in done}) >= 3
    assert versions(done[-1]) == {"v4"}


async def test_invalid_policy_keeps_the_previous_one(cluster, open_controller, shop, tmp_path: Path):
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "policy.rego").write_text(a_policy("v1"))
    async with open_controller(policy_dir=policies) as controller:
        (policies / "policy.rego").write_text("package signalprocessing\nseverity := {")
        gauge = "signalprocessing_policy_last_reload_successful"
        await eventually(lambda: controller.registry.get_sample_value(gauge) == 0)

        assert versions(await cluster.completed(a_service_signal(shop))) == {"v1"}


async def test_invalid_policy_stops_the_start(configured, open_controller, tmp_path: Path):
    (tmp_path / "policy.rego").write_text("package signalprocessing\n\nimport rego.v1\n\nseverity := }\n")

    with pytest.raises(PolicyError, match=r"policy\.rego:5:13"):
        async with open_controller(configured(policy_dir=tmp_path)):
            pass


async def test_killed_policy_process_costs_no_signal(cluster, controller, shop):
    os.kill(controller.policy.current.process.pid, signals.SIGKILL)

    done = await cluster.completed(a_service_signal(shop))

    assert done.status.condition("ClassificationComplete").reason == "ClassificationSucceeded"


async def test_second_writer_does_not_lose_the_signal(cluster, controller, shop, store):
    async def annotate(key, number: int) -> None:
        await cluster.patch("SignalProcessing", key, {"metadata": {"annotations": {"n": str(number)}}})

    raised = [a_service_signal(shop) for _ in range(10)]
    keys = [await cluster.signal(each) for each in raised]
    await asyncio.gather(*(annotate(key, number) for key in keys for number in range(3)))

    done = [await cluster.final(key) for key in keys]

    assert {each.status.phase for each in done} == {Phase.COMPLETED}
    for each in raised:
        await store.events(each.spec.remediation_request_ref.name, 9)


async def test_signal_failed_by_its_parent_gets_its_final_status_and_audit_trail(cluster, open_controller, shop, store):
    raised = a_service_signal(shop)
    key = await cluster.signal(raised)
    cascade = {"phase": "Failed", "failureInfo": {"error": "parent was cancelled"}}
    await cluster.patch("SignalProcessing", key, {"status": cascade}, subresource="status")

    async with open_controller():
        done = await cluster.final(key)
        events = await store.events(raised.spec.remediation_request_ref.name, 4)

    assert (done.status.phase, done.status.failure_info.error) == (Phase.FAILED, "parent was cancelled")
    assert [event.event_action for event in events] == ["phase_transition", "error", "phase_transition", "processed"]
    assert events[-1].event_outcome == "failure"


async def test_signal_beyond_its_deadline_fails_with_its_audit_trail(
    cluster, controller, shop, store, kubernetes_events
):
    raised = a_service_signal(shop, times_out_at=datetime.now(UTC) - timedelta(minutes=1))

    key = await cluster.signal(raised)
    done = await cluster.final(key)

    assert done.status.phase is Phase.FAILED
    assert done.status.condition("ProcessingComplete").reason == "TimedOut"
    events = await store.events(raised.spec.remediation_request_ref.name, 4)
    assert [event.event_action for event in events] == ["phase_transition", "error", "phase_transition", "processed"]

    async def is_recorded() -> bool:
        return [event["reason"] for event in await kubernetes_events(key)] == ["ProcessingTimedOut"]

    await eventually(is_recorded)


WRITTEN = ("audit_events_written_total", {"service": "signalprocessing"})


async def test_restart_derives_the_same_events_and_doubles_none(cluster, configured, open_controller, shop, store):
    raised = a_service_signal(shop)
    async with open_controller(configured("first")):
        await cluster.completed(raised)
        before = await store.events(raised.spec.remediation_request_ref.name, 9)

    async with open_controller(configured("second")) as controller:
        # A spool of its own: everything is recorded anew, and the store must answer that it has it.
        await eventually(lambda: (controller.registry.get_sample_value(*WRITTEN) or 0) >= 9)
        flushed = await controller.store.flush(10)
        after = await store.events(raised.spec.remediation_request_ref.name, 9)

    assert flushed.is_complete
    assert controller.store.quarantined == 0
    assert after == before


CONTROLLER = """
import asyncio, sys
from pathlib import Path
from kubernaut.ops.settings import load
from kubernaut.signalprocessing.config import SignalProcessingConfig
from kubernaut.signalprocessing.service import run

asyncio.run(run(load(SignalProcessingConfig, Path(sys.argv[1]))))
"""


@asynccontextmanager
async def a_process(config: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A controller in a process of its own; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CONTROLLER, str(config)), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_killed_controller_loses_nothing_and_doubles_nothing(cluster, store, shop, tmp_path: Path):
    config = tmp_path / "config.yaml"
    config.write_text(
        f"""
kubeconfig: {cluster.kubeconfig}
controller: {{metricsAddr: "127.0.0.1:0", healthProbeAddr: "127.0.0.1:0", namespace: {cluster.home}}}
classifier: {{policyDir: null, signalModes: null}}
datastorage: {{url: "{store.url}", spoolDir: {tmp_path / "spool"}}}
"""
    )
    raised = [a_service_signal(shop) for _ in range(30)]
    for turn in range(2):
        async with a_process(config):
            keys = [await cluster.signal(each) for each in raised[turn * 10 : turn * 10 + 10]]
            await cluster.final(keys[turn * 4], timeout=20)  # and in the middle of the others it is killed
    async with a_process(config) as process:
        for each in raised[20:]:
            await cluster.signal(each)
        done = [await cluster.final(key_in(cluster.home, each), timeout=20) for each in raised]
        for each in raised:
            await store.events(each.spec.remediation_request_ref.name, 9, timeout=20)
        process.terminate()
        await process.wait()

    assert {each.status.phase for each in done} == {Phase.COMPLETED}
    assert process.returncode == 0
    assert (await store.client.verify()).is_valid


async def test_readiness_names_what_is_missing(cluster, open_controller, store, configured):
    async with open_controller() as controller, httpx2.AsyncClient(base_url=controller.health.url) as http:

        async def ready() -> bool:
            return (await http.get("/readyz")).status_code == 200

        await eventually(ready)
        assert (await http.get("/healthz")).status_code == 200
        metrics = (await http.get("/metrics")).text

    assert "signalprocessing_policy_info{hash=" in metrics
    assert "workqueue_depth" in metrics


async def test_invalid_fingerprint_is_rejected_by_the_api_server(cluster, shop):
    manifest = as_manifest(a_service_signal(shop))
    manifest["metadata"]["namespace"] = cluster.home
    manifest["spec"]["signal"]["fingerprint"] = "not a fingerprint"

    with pytest.raises(Invalid, match="fingerprint"):
        await cluster.client.create(SIGNAL, manifest)


@pytest.mark.skipif(
    "1.20" in os.environ.get("KUBEBUILDER_ASSETS", ""), reason="kube-apiserver 1.20 drops CEL rules silently"
)
async def test_spec_cannot_be_changed(cluster, controller, shop):
    done = await cluster.completed(a_service_signal(shop))

    with pytest.raises(Invalid, match="immutable"):
        await cluster.patch("SignalProcessing", key_in(cluster.home, done), {"spec": {"signal": {"name": "other"}}})


def key_in(home: str, raised):
    return Key(home, raised.metadata.name)
