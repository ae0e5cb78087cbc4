"""The recorder when it cannot write: it never waits, it drops, and it counts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry

from kubernaut.api.meta import ObjectMeta
from kubernaut.kube.client import ClientConfig, open_client
from kubernaut.kube.events import EventRecorder, RecorderConfig, open_recorder
from kubernaut.kube.metrics import KubeMetrics
from kubernaut.kube.objects import Kind, PartialObjectMetadata
from kubernaut.ops.backoff import Backoff
from support.eventually import eventually
from support.logs import capture_logs
from support.scripted_api import Call, Script, an_object, open_scripted_api

CONFIGMAP = Kind(version="v1", kind="ConfigMap", plural="configmaps", type=PartialObjectMetadata)
QUICK = Backoff(initial_delay=0.01, max_delay=0.02)
TARGET = PartialObjectMetadata(metadata=ObjectMeta(name="a", namespace="shop", uid="u1"))


@asynccontextmanager
async def recording(
    script: Script, directory: Path, config: RecorderConfig
) -> AsyncIterator[tuple[EventRecorder, CollectorRegistry]]:
    registry = CollectorRegistry()
    async with (
        open_scripted_api(script, directory) as kubeconfig,
        open_client(ClientConfig(kubeconfig=kubeconfig, timeout=2.0)) as client,
        open_recorder(client, config, KubeMetrics(registry)) as recorder,
    ):
        yield recorder, registry


def dropped(registry: CollectorRegistry, reason: str) -> float:
    return registry.get_sample_value("kubernaut_kubernetes_events_dropped_total", {"reason": reason}) or 0


async def never(call: Call) -> None:
    await call.stay_idle()


async def test_full_recorder_drops_and_counts(tmp_path: Path):
    config = RecorderConfig(component="t", max_pending=3, flush_timeout=0)
    async with recording(never, tmp_path, config) as (recorder, registry):
        for number in range(5):
            recorder.record(CONFIGMAP, TARGET, "Seen", f"number {number}")

        assert dropped(registry, "queue_full") == 2

    assert dropped(registry, "shutdown") == 3


async def test_closing_waits_at_most_the_flush_timeout(tmp_path: Path):
    config = RecorderConfig(component="t", flush_timeout=0.05)
    async with asyncio.timeout(2), recording(never, tmp_path, config) as (recorder, registry):
        recorder.record(CONFIGMAP, TARGET, "Seen", "it is there")

    assert dropped(registry, "shutdown") == 1
    recorder.record(CONFIGMAP, TARGET, "Seen", "too late")
    assert dropped(registry, "shutdown") == 2


async def test_rejected_event_is_dropped_and_logged_once(tmp_path: Path):
    async def script(call: Call) -> None:
        await call.reject(403, "Forbidden", "events is forbidden")

    with capture_logs() as logs:
        async with recording(script, tmp_path, RecorderConfig(component="t")) as (recorder, registry):
            for number in range(4):
                recorder.record(CONFIGMAP, TARGET, "Seen", f"number {number}")
            assert await recorder.flush(5)

    assert dropped(registry, "rejected") == 4
    assert [line["event"] for line in logs] == ["writing Kubernetes Events failed"]


async def test_event_survives_a_short_outage(tmp_path: Path):
    calls: list[str] = []

    async def script(call: Call) -> None:
        calls.append(call.method)
        if len(calls) < 4:
            return await call.reject(503)
        return await call.respond(an_object())

    async with recording(script, tmp_path, RecorderConfig(component="t", backoff=QUICK)) as (recorder, registry):
        recorder.record(CONFIGMAP, TARGET, "Seen", "it is there")
        assert await recorder.flush(5)

        assert registry.get_sample_value("kubernaut_kubernetes_events_written_total") == 1

    assert calls == ["POST"] * 4


async def test_event_is_dropped_after_the_last_attempt(tmp_path: Path):
    async def script(call: Call) -> None:
        await call.reject(503)

    config = RecorderConfig(component="t", backoff=QUICK, max_attempts=2)
    with capture_logs():
        async with recording(script, tmp_path, config) as (recorder, registry):
            recorder.record(CONFIGMAP, TARGET, "Seen", "it is there")
            await eventually(lambda: dropped(registry, "failed") == 1)


async def test_long_message_is_truncated(tmp_path: Path):
    bodies: list[bytes] = []

    async def script(call: Call) -> None:
        bodies.append(call.body)
        await call.respond(an_object())

    async with recording(script, tmp_path, RecorderConfig(component="t")) as (recorder, _):
        recorder.record(CONFIGMAP, TARGET, "Seen", "x" * 5000)

    assert bodies[0].count(b"x") < 1100
