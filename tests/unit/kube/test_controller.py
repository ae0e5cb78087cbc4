"""When workers start, what they do with failures, and that no key has two of them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from kubernaut.kube.controller import Controller, RequeueAfter, Result, TerminalError, wait_for_cache_sync
from kubernaut.kube.errors import Conflict, TooManyRequests
from kubernaut.kube.metrics import KubeMetrics
from kubernaut.kube.queue import WorkQueue
from kubernaut.ops.backoff import Backoff
from support.eventually import eventually
from support.logs import capture_logs

QUICK = Backoff(initial_delay=0.001, max_delay=0.002)


@dataclass
class FakeCache:
    name: str
    synced: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Rig:
    queue: WorkQueue[str]
    controller: Controller[str]
    registry: CollectorRegistry

    def count(self, result: str) -> float:
        labels = {"controller": "test", "result": result}
        return self.registry.get_sample_value("controller_runtime_reconcile_total", labels) or 0


@asynccontextmanager
async def running(
    reconcile: Callable[[str], Awaitable[Result]], workers: int = 2, caches: tuple[FakeCache, ...] = ()
) -> AsyncIterator[Rig]:
    registry = CollectorRegistry()
    metrics = KubeMetrics(registry)
    queue: WorkQueue[str] = WorkQueue("test", QUICK, metrics)
    controller = Controller(queue, reconcile, workers=workers, caches=caches, metrics=metrics)
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(controller.run())
        yield Rig(queue, controller, registry)
        run.cancel()


async def test_no_worker_runs_before_every_cache_has_synced():
    signals, pods = FakeCache("signals"), FakeCache("pods")
    worked: list[str] = []

    async def reconcile(key: str) -> None:
        assert signals.synced.is_set()
        assert pods.synced.is_set()
        worked.append(key)

    async with running(reconcile, caches=(signals, pods)) as rig:
        rig.queue.add("a")
        signals.synced.set()
        for _ in range(50):
            await asyncio.sleep(0)
        assert not rig.controller.started.is_set()
        assert worked == []

        pods.synced.set()
        await eventually(lambda: worked == ["a"])


async def test_cache_that_has_not_synced_is_named_in_the_log():
    signals, pods = FakeCache("signals"), FakeCache("pods")
    signals.synced.set()

    with capture_logs() as logs:
        waiting = asyncio.ensure_future(wait_for_cache_sync([signals, pods], log_interval=0.01))
        await eventually(lambda: len(logs) >= 2)
        pods.synced.set()
        await waiting

    assert {tuple(line["pending"]) for line in logs} == {("pods",)}


async def test_two_workers_never_hold_one_key():
    held: set[str] = set()
    done = 0

    async def reconcile(key: str) -> None:
        nonlocal done
        assert key not in held
        held.add(key)
        for _ in range(3):
            await asyncio.sleep(0)
            rig.queue.add(f"k{(done + 1) % 3}") if done < 300 else None
        held.discard(key)
        done += 1

    async with running(reconcile, workers=8) as rig:
        for key in ("k0", "k1", "k2"):
            rig.queue.add(key)
        await eventually(lambda: done >= 300 and rig.queue.is_idle)

    assert rig.count("error") == 0


async def test_one_keys_failure_does_not_stop_the_others():
    worked: list[str] = []

    async def reconcile(key: str) -> None:
        if key == "bad":
            raise RuntimeError("mistake")
        worked.append(key)

    with capture_logs():
        async with running(reconcile, workers=1) as rig:
            for key in ("bad", "a", "bad", "b"):
                rig.queue.add(key)
            await eventually(lambda: sorted(worked) == ["a", "b"])


async def test_failure_is_retried_until_it_succeeds():
    attempts = 0

    async def reconcile(key: str) -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 4:
            raise RuntimeError("not yet")

    with capture_logs() as logs:
        async with running(reconcile) as rig:
            rig.queue.add("a")
            await eventually(lambda: rig.count("success") == 1)

    assert (attempts, rig.queue.num_requeues("a")) == (4, 0)
    assert [line["failures"] for line in logs if line["event"] == "reconcile failed"] == [1, 2, 3]


async def test_terminal_error_is_not_retried():
    attempts = 0

    async def reconcile(key: str) -> None:
        nonlocal attempts
        attempts += 1
        raise TerminalError("the fingerprint is no hash")

    with capture_logs() as logs:
        async with running(reconcile) as rig:
            rig.queue.add("a")
            await eventually(lambda: rig.count("terminal_error") == 1)
            assert rig.queue.is_idle

    assert attempts == 1
    assert "the fingerprint is no hash" in [line.get("error") for line in logs]


async def test_requeue_after_is_no_failure():
    attempts = 0

    async def reconcile(key: str) -> Result:
        nonlocal attempts
        attempts += 1
        return RequeueAfter(0.001) if attempts < 3 else None

    async with running(reconcile) as rig:
        rig.queue.add("a")
        await eventually(lambda: attempts == 3)
        await eventually(lambda: rig.count("success") == 1)

    assert (rig.count("requeue_after"), rig.count("error")) == (2, 0)


async def test_conflict_is_logged_as_info():
    attempts = 0

    async def reconcile(key: str) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise Conflict("somebody wrote")

    with capture_logs() as logs:
        async with running(reconcile) as rig:
            rig.queue.add("a")
            await eventually(lambda: rig.count("success") == 1)

    assert {line["log_level"] for line in logs} == {"info"}


async def test_throttled_key_waits_as_long_as_the_server_asked():
    async def reconcile(key: str) -> None:
        raise TooManyRequests("slow down", retry_after=60.0)

    with capture_logs() as logs:
        async with running(reconcile) as rig:
            rig.queue.add("a")
            await eventually(lambda: rig.count("error") == 1)

    assert [line["requeue_after"] for line in logs if line["event"] == "reconcile failed"] == [60.0]


@pytest.mark.requirement("LESSON-23")
async def test_cancellation_propagates():
    entered = asyncio.Event()
    left: list[str] = []

    async def reconcile(key: str) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            left.append(key)
            raise

    controller_run = asyncio.ensure_future(_run_one(reconcile))
    await asyncio.wait_for(entered.wait(), 5)
    controller_run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await controller_run

    assert left == ["a"]


async def _run_one(reconcile: Callable[[str], Awaitable[Result]]) -> None:
    queue: WorkQueue[str] = WorkQueue("test", QUICK)
    queue.add("a")
    await Controller(queue, reconcile).run()


async def test_workers_finish_after_the_queue_is_shut_down():
    worked: list[str] = []

    async def reconcile(key: str) -> None:
        await asyncio.sleep(0)
        worked.append(key)

    queue: WorkQueue[str] = WorkQueue("test", QUICK)
    for key in "abc":
        queue.add(key)
    queue.shutdown()

    await asyncio.wait_for(Controller(queue, reconcile).run(), 5)

    assert sorted(worked) == ["a", "b", "c"]


async def test_reconcile_beyond_its_time_limit_is_logged_once_named_and_counted():
    release = asyncio.Event()

    async def hang(key: str) -> Result:
        if key == "stuck":
            await release.wait()
        return None

    registry = CollectorRegistry()
    metrics = KubeMetrics(registry)
    queue: WorkQueue[str] = WorkQueue("test", QUICK, metrics)
    controller = Controller(queue, hang, workers=2, metrics=metrics, reconcile_timeout=0.05)

    def overdue() -> float | None:
        return registry.get_sample_value("controller_runtime_reconciles_overdue", {"controller": "test"})

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(controller.run())
        with capture_logs() as logs:
            queue.add("stuck")
            queue.add("other")
            await eventually(lambda: overdue() == 1)
            await eventually(lambda: controller.overdue() == ["stuck"])
            release.set()
            await eventually(lambda: overdue() == 0)
        queue.shutdown()

    assert [line["key"] for line in logs if line["event"] == "reconcile exceeds its time limit"] == ["stuck"]
    assert controller.overdue() == []
