"""Parts killed, doubled, stopped and starved while signals come in: nothing is lost, nothing doubled, all in order.

Each test prints the seed of what it does at random; `FAULTS_SEED` repeats the choices, though not their timing.
"""

import asyncio
import json
import os
import random
import resource
import shutil
import signal as signals
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx2
import msgspec
import pytest

from kubernaut.api.signals import SignalProcessing
from kubernaut.api.vocabulary import Phase
from kubernaut.audit import ClientConfig as StoreConfig
from kubernaut.audit import open_client as open_store_client
from kubernaut.datastorage import intake
from kubernaut.gateway.requests import REQUESTS
from kubernaut.kube.client import ListOptions
from kubernaut.kube.errors import AlreadyExists, Conflict, KubeError, NotFound
from kubernaut.kube.objects import Key
from kubernaut.signalprocessing import audit_events
from kubernaut.signalprocessing.kinds import CACHED, SIGNAL
from support.alerts import a_webhook, an_alert
from support.eventually import eventually
from support.processes import descendants
from support.signals import a_namespace, a_signal, an_object, as_manifest
from support.supervised_stack import HOME, SupervisedStack, open_supervised_stack

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.timeout(180),
    pytest.mark.skipif("KUBEBUILDER_ASSETS" in os.environ, reason="kills the embedded API server"),
]

POLICY_EVENTS = "signalprocessing.policy.%"
"""What a controller records of policies, and of no signal."""

JSON = {"content-type": "application/json"}
_POD = {"containers": [{"name": "app", "image": "example.com/app"}]}
_TEMPLATE = {"metadata": {"labels": {"app": "api"}}, "spec": _POD}
SPECS = {
    "Deployment": {"selector": {"matchLabels": {"app": "api"}}, "template": _TEMPLATE},
    "Service": {"ports": [{"port": 80}]},
    "Pod": _POD,
}
RAW = {kind.kind: kind.with_type(dict) for kind in CACHED}


@pytest.fixture
def rng() -> random.Random:
    seed = int(os.environ.get("FAULTS_SEED") or random.SystemRandom().randrange(2**32))
    print(f"FAULTS_SEED={seed}")
    return random.Random(seed)


async def retry(call: Callable):
    """Call again until the API server has answered, as a client with retries does."""

    async def probe():
        try:
            return [await call()]
        except (AlreadyExists, NotFound):
            return [None]
        except KubeError as error:
            if error.code and error.code < 500:
                raise
            return None

    return (await eventually(probe, timeout=40, interval=0.05))[0]


@dataclass
class Load:
    """Signals and alerts on their way in, and what was promised about them."""

    stack: SupervisedStack
    rng: random.Random
    signals: list[SignalProcessing] = field(default_factory=list)
    acknowledged: Counter[str] = field(default_factory=Counter)
    """Alerts by workload that a 2xx answered."""
    refusals: Counter[int] = field(default_factory=Counter)

    async def open_shop(self) -> None:
        for number in range(4):
            at = f"shop-{number}"
            await retry(lambda at=at: self.stack.client.create(RAW["Namespace"], a_namespace(at, "production")))
            for kind in SPECS:
                manifest = an_object(kind, "api", at, spec=SPECS[kind])
                await retry(lambda k=kind, m=manifest: self.stack.client.create(RAW[k], m))

    async def raise_signals(self, count: int, **more) -> None:
        """About targets that are there, come and go, change, or never were."""
        for _ in range(count):
            kind = self.rng.choice(["Deployment", "Service", "Pod", "StatefulSet"])
            at, target = f"shop-{self.rng.randrange(5)}", self.rng.choice(["api", "api", "gone"])
            raised = a_signal(kind=kind, target=target, at=at, **more)
            self.signals.append(raised)
            await retry(lambda raised=raised: self.stack.client.create(SIGNAL, as_manifest(raised)))

    async def change_targets(self, times: int) -> None:
        for number in range(times):
            at, kind = f"shop-{self.rng.randrange(4)}", self.rng.choice(["Pod", "Service"])
            key = Key(at, "api")
            if self.rng.random() < 0.5:
                change = {"metadata": {"labels": {"n": str(number)}}}
                await retry(lambda: self.stack.client.patch(RAW[kind], key, change))  # noqa: B023 - awaited at once
            else:
                await retry(lambda: self.stack.client.delete(RAW[kind], key))  # noqa: B023
                manifest = an_object(kind, "api", at, spec=SPECS[kind])
                await retry(lambda: self.stack.client.create(RAW[kind], manifest))  # noqa: B023

    async def deliver(self, times: int) -> None:
        """As an Alertmanager: the same notification again until it is answered with 2xx."""
        async with httpx2.AsyncClient(trust_env=False, timeout=12) as http:
            for number in range(times):
                names = {f"web-{self.rng.randrange(20)}": None for _ in range(self.rng.randint(1, 3))}
                alerts = [an_alert(f"Alert{number}", namespace="shop-0", deployment=name) for name in names]
                answer = await eventually(
                    lambda alerts=alerts: self._posted(http, a_webhook(*alerts)), timeout=60, interval=0.05
                )
                results = answer.get("results", [answer])
                assert {result["status"] for result in results} <= {"created", "duplicate"}
                self.acknowledged.update(result["remediationRequestName"] for result in results)

    async def _posted(self, http: httpx2.AsyncClient, body: dict):
        try:
            answer = await http.post(self.stack.webhook, content=json.dumps(body), headers=JSON)
        except httpx2.TransportError:
            self.refusals[0] += 1
            return None
        if answer.is_success:
            return answer.json()
        self.refusals[answer.status_code] += 1
        assert answer.status_code == 503, answer.text
        return None


async def all_final(stack: SupervisedStack, count: int) -> list[SignalProcessing]:
    """Every signal, once all of them have ended."""

    async def probe():
        try:
            there = (await stack.client.list(SIGNAL, ListOptions(namespace=HOME))).items
        except KubeError:
            return None
        waiting = [each.metadata.name for each in there if not each.status.completion_time]
        assert len(there) >= count, f"{len(there)} of {count} signals are there"
        assert not waiting, f"{len(waiting)} signals have not ended, such as {waiting[0]}"
        return there

    return await eventually(probe, timeout=60, interval=0.2)


async def check_audit_events(stack: SupervisedStack, done: list[SignalProcessing]) -> Counter[str]:
    """The ledger has every event that each object implies, once, in order, the same to the byte; and it verifies."""
    expected = {}
    for signal in done:
        events = audit_events.events_of(signal)
        entries = intake.admit(msgspec.json.encode(events), datetime.now(UTC), 1000)
        expected[signal.spec.remediation_request_ref.name] = [
            (entry.event.event_id, entry.content_hash) for entry in entries
        ]
    wanted = sum(map(len, expected.values()))
    connection = await asyncpg.connect(stack.database, timeout=10)
    try:

        async def stored():
            count = await connection.fetchval(
                "SELECT count(*) FROM audit_events"
                " WHERE event_category = 'signalprocessing' AND event_type NOT LIKE $1",
                POLICY_EVENTS,
            )
            assert count >= wanted, f"{count} of {wanted} events are in the ledger"
            return True

        await eventually(stored, timeout=60, interval=0.2)
        rows = await connection.fetch(
            """SELECT l.correlation_id, l.event_id, l.content_hash
                 FROM audit_ledger l JOIN audit_events e USING (event_id)
                WHERE e.event_category = 'signalprocessing' AND e.event_type NOT LIKE $1
                ORDER BY l.shard, l.sequence""",
            POLICY_EVENTS,
        )
        conflicts = await connection.fetch("SELECT * FROM audit_conflicts")
    finally:
        await connection.close()
    found: dict[str, list] = {}
    for row in rows:
        found.setdefault(row["correlation_id"], []).append((row["event_id"], row["content_hash"]))
    assert [dict(row) for row in conflicts] == []
    assert found == expected
    async with open_store_client(StoreConfig(url=stack.datastorage)) as store:
        verdict = await eventually(lambda: _verified(store), timeout=20, interval=0.2)
    assert verdict.is_valid, verdict
    return Counter({"signals": len(done), "events": wanted, "ledger": verdict.total_events})


async def _verified(store):
    with suppress(Exception):
        return await store.verify()
    return None


async def check_alerts(stack: SupervisedStack, load: Load) -> None:
    """Every alert that was acknowledged is counted once, on a request, which has its one signal."""
    requests = (await stack.client.list(REQUESTS, ListOptions(namespace=HOME))).items
    counts = {each.metadata.name: each.status.deduplication.occurrence_count for each in requests}
    assert counts == load.acknowledged
    assert len({(each.spec.signal_name, each.spec.signal_fingerprint) for each in requests}) == len(requests)


async def test_killed_parts_lose_double_and_reorder_nothing(own_directory, rng):
    async with open_supervised_stack(own_directory) as stack:
        load = Load(stack, rng)
        await load.open_shop()
        kills: Counter[str] = Counter()

        async def kill_at_random() -> None:
            names = ["controller", "policy", "postgres", "datastorage", "apiserver", "gateway"]
            names += rng.sample(names, 3)
            rng.shuffle(names)
            for name in names:
                part = stack["controller" if name == "policy" else name]
                await asyncio.wait_for(part.is_up.wait(), 60)
                if name == "policy":
                    for pid in descendants(part.pid):
                        with suppress(ProcessLookupError):
                            os.kill(pid, 9)
                else:
                    part.kill()
                kills[name] += 1
                # The next one dies while this one's death is still being dealt with, or soon after.
                before = len(load.signals)
                await eventually(lambda before=before: len(load.signals) >= min(300, before + 25), timeout=60)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.raise_signals(150))
            tasks.create_task(load.raise_signals(150))
            tasks.create_task(load.change_targets(60))
            tasks.create_task(load.deliver(100))
            tasks.create_task(kill_at_random())
        await stack.all_up()
        done = await all_final(stack, 300)
        await check_alerts(stack, load)
        figures = await check_audit_events(stack, done)
        print(figures, kills, load.refusals, sum(load.acknowledged.values()))

    assert {each.status.phase for each in done} == {Phase.COMPLETED}
    assert figures["events"] == 9 * figures["signals"]


async def test_a_controller_killed_between_write_and_send_leaves_the_same_events(own_directory, rng):
    async with open_supervised_stack(own_directory) as stack:
        load = Load(stack, rng)
        await load.open_shop()
        async with stack["datastorage"].down():
            await load.raise_signals(30)
            await all_final(stack, 30)
            async with stack["controller"].down():
                pass  # everything is in its spool
        await stack.all_up()
        await check_audit_events(stack, await all_final(stack, 30))
        async with stack["datastorage"].down():
            await load.raise_signals(30)
            await all_final(stack, 60)
            async with stack["controller"].down():
                # As if it had died before a single event was on disk.
                shutil.rmtree(stack.directory.path / "spools" / "controller")
        await stack.all_up()

        figures = await check_audit_events(stack, await all_final(stack, 60))

    assert figures["events"] == 60 * 9


async def test_two_controllers_by_mistake_double_nothing(own_directory, rng):
    async with open_supervised_stack(own_directory, controllers=2) as stack:
        load = Load(stack, rng)
        await load.open_shop()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.raise_signals(60))
            tasks.create_task(load.raise_signals(60))
            tasks.create_task(load.change_targets(20))
        done = await all_final(stack, 120)
        figures = await check_audit_events(stack, done)

    assert {each.status.phase for each in done} == {Phase.COMPLETED}
    assert figures["events"] == 120 * 9


async def test_a_parent_that_fails_a_completed_signal_raises_no_false_alarm(own_directory, rng):
    async with open_supervised_stack(own_directory) as stack:
        load = Load(stack, rng)
        await load.raise_signals(1)
        done = await all_final(stack, 1)
        await check_audit_events(stack, done)
        cascade = {"status": {"phase": "Failed", "failureInfo": {"error": "cancelled"}}}
        await stack.client.patch(SIGNAL, Key(HOME, done[0].metadata.name), cascade, subresource="status")
        async with stack["controller"].down():
            pass
        # Sent after whatever the restarted controller has to say about the first one.
        await load.raise_signals(1)

        await all_final(stack, 2)
        connection = await asyncpg.connect(stack.database, timeout=10)
        try:
            of_both = "SELECT count(*) FROM audit_events WHERE correlation_id = $1"
            newest = load.signals[-1].spec.remediation_request_ref.name
            await eventually(lambda: _is(connection.fetchval(of_both, newest), 9), timeout=20, interval=0.1)

            assert await connection.fetchval("SELECT count(*) FROM audit_conflicts") == 0
        finally:
            await connection.close()


async def _is(answer, wanted) -> bool:
    return await answer == wanted


async def test_a_signal_that_its_parent_failed_has_one_trail_through_a_restart(own_directory, rng):
    async with open_supervised_stack(own_directory) as stack:
        load = Load(stack, rng)
        async with stack["controller"].down():
            await load.raise_signals(3)
            for raised in load.signals:
                key = Key(HOME, raised.metadata.name)
                cascade = {"status": {"phase": "Failed", "failureInfo": {"error": "cancelled"}}}
                await stack.client.patch(SIGNAL, key, cascade, subresource="status")
        done = await all_final(stack, 3)
        await check_audit_events(stack, done)
        async with stack["controller"].down():
            pass
        # Sent after whatever the restarted controller has to say about the first three.
        await load.raise_signals(1)
        done = await all_final(stack, 4)
        await check_audit_events(stack, done)

    assert [each.status.phase for each in done].count(Phase.FAILED) == 3


def a_policy(name: str) -> str:
    """Every answer of it tells the version."""
    return f"""package signalprocessing

import rego.v1

environment := {{"environment": "Test", "source": "{name}"}}

severity := "info"

priority := {{"priority": "P3", "policy_name": "{name}"}}

labels := {{"version": ["{name}"]}}
"""


def versions(signal: SignalProcessing) -> set[str]:
    status = signal.status
    custom = status.kubernetes_context.custom_labels.get("version", [])
    return {status.environment_classification.source, status.priority_assignment.policy_name, *custom}


async def test_a_policy_swapped_under_load_decides_each_signal_alone(own_directory, rng):
    async with open_supervised_stack(own_directory) as stack:
        load = Load(stack, rng)
        await load.open_shop()
        file = stack.policy / "policy.rego"
        pid = stack["controller"].pid

        async def swap() -> None:
            for number in range(1, 13):
                match rng.choice(["write", "replace", "break", "delete"]):
                    case "write":
                        file.write_text(a_policy(f"v{number}"))
                    case "replace":
                        fresh = stack.policy / ".fresh"
                        fresh.write_text(a_policy(f"v{number}"))
                        fresh.replace(file)
                    case "break":
                        file.write_text("package signalprocessing\nseverity := {")
                    case "delete":
                        file.unlink(missing_ok=True)
                before = len(load.signals)
                await eventually(lambda before=before: len(load.signals) >= min(150, before + 10), timeout=60)
            file.write_text(a_policy("last"))

        async def decided_by_the_last() -> bool:
            await load.raise_signals(1)
            done = await all_final(stack, len(load.signals))
            newest = load.signals[-1].metadata.name
            return next(versions(each) == {"last"} for each in done if each.metadata.name == newest)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.raise_signals(75))
            tasks.create_task(load.raise_signals(75))
            tasks.create_task(swap())
        await eventually(decided_by_the_last, timeout=20, interval=0.2)
        done = await all_final(stack, len(load.signals))
        await check_audit_events(stack, done)

        assert stack["controller"].pid == pid
    assert {each.status.phase for each in done} == {Phase.COMPLETED}
    # The built-in policy, which decided until the first of ours was in force, knows no versions.
    mixed = [versions(each) for each in done if "version" in each.status.kubernetes_context.custom_labels]
    assert {len(each) for each in mixed} == {1}


async def test_deadlines_and_parents_are_never_overruled(own_directory, rng):
    async with open_supervised_stack(own_directory) as stack:
        load = Load(stack, rng)
        await load.open_shop()
        now = datetime.now(UTC)
        overruled = []

        async def fail_some() -> None:
            """As a parent that cancels its signals at the very moment when they are worked on."""
            for number in range(40):
                await eventually(lambda number=number: len(load.signals) > number + 20, timeout=30, interval=0)
                raised = load.signals[number + 20]
                cascade = {"status": {"phase": "Failed", "failureInfo": {"error": "cancelled by its parent"}}}
                key = Key(HOME, raised.metadata.name)
                try:
                    there = await stack.client.get(SIGNAL, key)
                    if there.status.phase is None or not there.status.phase.is_final:
                        cascade["metadata"] = {"resourceVersion": there.metadata.resource_version}
                        await stack.client.patch(SIGNAL, key, cascade, subresource="status")
                        overruled.append(raised.metadata.name)
                except (Conflict, NotFound):
                    pass

        await load.raise_signals(10, times_out_at=now - timedelta(minutes=1))
        await load.raise_signals(10, times_out_at=now + timedelta(seconds=1))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.raise_signals(60))
            tasks.create_task(fail_some())
        done = {each.metadata.name: each for each in await all_final(stack, 80)}
        await check_audit_events(stack, [*done.values()])
        print(len(overruled), "overruled")

    late = [done[each.metadata.name] for each in load.signals[:10]]
    assert {each.status.condition("ProcessingComplete").reason for each in late} == {"TimedOut"}
    cancelled = {done[name].status.failure_info.error for name in overruled}
    assert cancelled <= {"cancelled by its parent"}
    assert {done[name].status.phase for name in overruled} <= {Phase.FAILED}


async def test_a_full_disk_under_the_spool_is_loud_and_loses_nothing(own_directory, rng):
    async with open_supervised_stack(own_directory) as stack:
        load = Load(stack, rng)
        await load.open_shop()
        async with stack["datastorage"].down():
            pid = stack["controller"].pid
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (200_000, hard))
            await load.raise_signals(120)
            await all_final(stack, 120)
            await eventually(lambda: "Audit spool write failed" in stack.log_of("controller"), timeout=20)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        await stack.all_up()

        figures = await check_audit_events(stack, await all_final(stack, 120))

        assert stack["controller"].pid == pid
    assert figures["events"] == 120 * 9


async def test_stopped_services_finish_in_time_and_lose_nothing(own_directory, rng):
    async with open_supervised_stack(own_directory) as stack:
        load = Load(stack, rng)
        await load.open_shop()

        async def stop_one_after_the_other() -> None:
            for name in rng.sample(["controller", "gateway", "datastorage", "controller", "gateway"], 5):
                await asyncio.wait_for(stack[name].is_up.wait(), 60)
                process = stack[name].running.process
                async with stack[name].down(rng.choice([signals.SIGTERM, signals.SIGINT])):
                    assert await process.wait() == 0, process.log_tail()[-2000:]

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.raise_signals(120))
            tasks.create_task(load.deliver(30))
            tasks.create_task(stop_one_after_the_other())
        await stack.all_up()
        done = await all_final(stack, 120)
        await check_alerts(stack, load)
        figures = await check_audit_events(stack, done)

    assert figures["events"] == 9 * figures["signals"]
