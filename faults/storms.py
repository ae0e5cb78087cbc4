"""The suite `gateway`: storms of alerts while parts of the system are killed, compared with what was sent.

A storm has several senders, each with groups of its own, as an Alertmanager. A sender delivers its notifications one
after the other, each again until the answer is 2xx. Meanwhile parts of the system are killed and come back. In the end
every alert has exactly the signals, the occurrences, the state and the audit events that the notifications imply.
"""

import asyncio
import contextlib
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx2

from faults.stack import keep_logs
from kubernaut.api.remediation import RemediationRequest
from kubernaut.api.vocabulary import EventType, Label, Phase
from kubernaut.gateway import occurrences
from kubernaut.gateway.requests import REQUESTS, SIGNALS, signal_name_of
from kubernaut.kube.client import ListOptions
from kubernaut.kube.errors import KubeError
from kubernaut.ops import logs
from support.alerts import LONG_AGO, a_webhook
from support.eventually import eventually
from support.supervised_stack import HOME, SupervisedStack, open_supervised_stack

VICTIMS = ("gateway", "apiserver", "datastorage", "controller", "postgres")
DELIVERY_TIMEOUT = 120.0  # seconds until a notification must have been accepted
_PER_STACK = 20
SETTLE_TIMEOUT = 120.0  # seconds until everything is decided and recorded


@dataclass(kw_only=True)
class OneSignal:
    """A signal that the notifications imply."""

    occurrences: int = 0
    firing: dict[str, int] = field(default_factory=dict)
    """When each alert that still fires began, by its replica label."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One notification."""

    alerts: tuple[dict[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Storm:
    """What is sent, and what is killed meanwhile."""

    seed: int
    senders: tuple[tuple[Step, ...], ...]
    kills: tuple[tuple[int, str], ...]
    """After how many accepted notifications which component is killed."""

    @property
    def namespace(self) -> str:
        return f"storm-{self.seed}"

    def __str__(self) -> str:
        alerts = sum(len(step.alerts) for steps in self.senders for step in steps)
        kills = ", ".join(f"{victim} after {number}" for number, victim in self.kills)
        return f"{alerts} alerts in {sum(map(len, self.senders))} notifications; kills: {kills}"


def random_storm(seed: int) -> Storm:
    """The same for the same seed."""
    rng = random.Random(seed)
    senders = tuple(tuple(_steps(rng, seed, number)) for number in range(rng.randint(2, 5)))
    count = sum(map(len, senders))
    kills = tuple((rng.randrange(count), rng.choice(VICTIMS)) for _ in range(rng.randint(1, 3)))
    return Storm(seed=seed, senders=senders, kills=tuple(sorted(kills)))


def _steps(rng: random.Random, seed: int, sender: int) -> Iterator[Step]:
    """Notifications of one group: many targets with one alert each, or one target with many."""
    width, depth = rng.choice([(rng.randint(10, 60), 1), (1, rng.randint(10, 60)), (rng.randint(2, 6), 8)])
    alerts = [(f"pod-{sender}-{target}", str(replica)) for target in range(width) for replica in range(depth)]
    began = dict.fromkeys(alerts, 0)
    firing: set[tuple[str, str]] = set()
    last: Step | None = None
    for number in range(1, rng.randint(3, 7)):
        ending = {alert for alert in firing if rng.random() < 0.4} if rng.random() < 0.7 else firing
        beginning = [alert for alert in alerts if alert not in firing and rng.random() < 0.6]
        began |= dict.fromkeys(beginning, number)
        notified = [alert for alert in alerts if alert in firing or alert in beginning]
        if notified:
            entries = (alert_of(seed, sender, alert, began[alert], resolved=alert in ending) for alert in notified)
            last = Step(alerts=tuple(entries))
            yield last
        firing = (firing | set(beginning)) - ending
        if last is not None and rng.random() < 0.3:
            yield last  # nothing has changed, and the repeat interval is over


def alert_of(seed: int, sender: int, alert: tuple[str, str], began: int, *, resolved: bool) -> dict[str, Any]:
    """The alert of a pod and a replica label, as that sender sends it; it began in that minute."""
    pod, replica = alert
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1) + timedelta(minutes=began)
    return {
        "status": "resolved" if resolved else "firing",
        "labels": {
            "alertname": f"Storm{sender}",
            "severity": "warning",
            "namespace": f"storm-{seed}",
            "pod": pod,
            "replica": replica,
        },
        "annotations": {},
        "startsAt": start.isoformat(),
        "endsAt": datetime.now(UTC).isoformat() if resolved else LONG_AGO,
        "fingerprint": "0123456789abcdef",
    }


def expected(storm: Storm) -> dict[str, list[OneSignal]]:
    """The signals of each target, oldest first."""
    signals: dict[str, list[OneSignal]] = {}
    for steps in storm.senders:
        for step in steps:
            # Firing alerts first: what fires is not resolved because another alert of it is.
            for entry in sorted(step.alerts, key=lambda each: each["status"] != "firing"):
                _apply(signals.setdefault(entry["labels"]["pod"], []), entry)
    return signals


def _apply(signals: list[OneSignal], entry: dict[str, Any]) -> None:
    replica, start = entry["labels"]["replica"], entry["startsAt"]
    if entry["status"] != "firing":
        if signals:
            signals[-1].firing.pop(replica, None)
        return
    if not signals or not signals[-1].firing:
        signals.append(OneSignal())
    if signals[-1].firing.get(replica) != start:
        signals[-1].occurrences += 1
        signals[-1].firing[replica] = start


async def run_storm(storm: Storm, stack: SupervisedStack) -> list[str]:
    """Send it while parts are killed; what is wrong afterwards."""
    accepted = 0
    kills = list(storm.kills)

    async def send(steps: tuple[Step, ...]) -> None:
        nonlocal accepted
        for step in steps:
            while kills and kills[0][0] <= accepted:
                _, victim = kills.pop(0)
                if stack[victim].is_up.is_set():
                    stack[victim].kill()
            await _deliver(stack, step)
            accepted += 1

    async with asyncio.TaskGroup() as tasks:
        for steps in storm.senders:
            tasks.create_task(send(steps))
    await stack.all_up()
    return await settled(storm, stack)


async def _deliver(stack: SupervisedStack, step: Step) -> None:
    body = json.dumps(a_webhook(*step.alerts))
    rejected: list[str] = []

    async def is_accepted() -> bool:
        try:
            async with httpx2.AsyncClient(timeout=20, trust_env=False) as http:
                answer = await http.post(stack.webhook, content=body, headers={"content-type": "application/json"})
        except httpx2.TransportError:
            return False
        if not answer.is_success and answer.status_code != 503:
            rejected.append(answer.text[:500])
        return answer.is_success or bool(rejected)

    await eventually(is_accepted, timeout=DELIVERY_TIMEOUT, interval=0.1)
    if rejected:
        raise AssertionError(f"a notification was rejected: {rejected[0]}")


async def settled(
    storm: Storm, stack: SupervisedStack, timeout: float = SETTLE_TIMEOUT, interval: float = 0.3
) -> list[str]:
    """The problems that are left once the audit events have had their time to arrive."""
    problems: list[str] = []

    async def is_right() -> bool:
        try:
            problems[:] = await _problems(storm, stack)
        except (KubeError, OSError, asyncpg.PostgresError) as error:
            problems[:] = [f"the state cannot be read: {error}"]
        return not problems

    with contextlib.suppress(AssertionError):  # the problems say more
        await eventually(is_right, timeout=timeout, interval=interval)
    return problems


async def _problems(storm: Storm, stack: SupervisedStack) -> list[str]:
    everything = ListOptions(namespace=HOME)
    requests = (await stack.client.list(REQUESTS, everything)).items
    signals = (await stack.client.list(SIGNALS, everything)).items
    mine: dict[str, list[RemediationRequest]] = {}
    for request in sorted(
        requests, key=lambda each: (each.metadata.creation_timestamp or datetime.now(UTC), each.metadata.name)
    ):
        target = request.spec.target_resource
        if target is not None and target.namespace == storm.namespace:
            mine.setdefault(target.name, []).append(request)
    phases = {signal.metadata.name: signal.status.phase for signal in signals}
    events = await _events(stack, [request.metadata.name for each in mine.values() for request in each])
    problems = []
    for pod, implied in expected(storm).items():
        found = mine.pop(pod, [])
        problems += _differences(pod, implied, found)
        for request in found:
            problems += _unfinished(request, phases, events)
    problems += [f"{pod}: nobody sent that" for pod in mine]
    return problems


def _differences(pod: str, implied: list[OneSignal], found: list[RemediationRequest]) -> list[str]:
    seen = sorted(
        (
            request.status.deduplication.occurrence_count if request.status.deduplication else 0,
            len(occurrences.firing_of(request.status.deduplication)),
            Label.RESOLVED_AT not in request.metadata.annotations,
        )
        for request in found
    )
    wanted = sorted((each.occurrences, len(each.firing), bool(each.firing)) for each in implied)
    return [] if seen == wanted else [f"{pod}: (occurrences, firing, open) are {seen}, not {wanted}"]


def _unfinished(request: RemediationRequest, phases: dict[str, Any], events: Counter[tuple[str, str]]) -> list[str]:
    name = request.metadata.name
    deduplication = request.status.deduplication
    problems = []
    phase = phases.get(signal_name_of(request))
    if phase != Phase.COMPLETED:
        problems.append(f"{name}: its signal is {phase or 'missing'}")
    counts = {
        EventType.SIGNAL_RECEIVED: 1,
        EventType.SIGNAL_DEDUPLICATED: (deduplication.occurrence_count if deduplication else 0) - 1,
    }
    for type, count in counts.items():
        if events[name, type.value] != count:
            problems.append(f"{name}: {events[name, type.value]} events {type.value} in the ledger, not {count}")
    return problems


async def _events(stack: SupervisedStack, names: list[str]) -> Counter[tuple[str, str]]:
    """How many events of each correlation and type the ledger has, resolved notices left out."""
    connection = await asyncpg.connect(stack.database, timeout=10)
    try:
        rows = await connection.fetch(
            "SELECT correlation_id, event_type, count(*) AS number FROM audit_events"
            " WHERE correlation_id = ANY($1) AND event_action <> 'resolved' GROUP BY 1, 2",
            names,
        )
    finally:
        await connection.close()
    return Counter({(row["correlation_id"], row["event_type"]): row["number"] for row in rows})


async def run(count: int, seed: int, kept: Path) -> int:
    """Run the storms of `count` seeds, each on what the ones before it left behind; the exit code."""
    logs.configure(logs.LogLevel.ERROR, stream=sys.stderr)
    started, failed, root = time.monotonic(), list[int](), Path(tempfile.mkdtemp(prefix="kn-storms-"))
    root.chmod(0o711)
    print(f"{count} storms, seeds {seed} to {seed + count - 1}", flush=True)
    try:
        for first in range(seed, seed + count, _PER_STACK):
            directory = root / str(first)
            async with open_supervised_stack(directory, durable=False) as stack:
                seeds = range(first, min(first + _PER_STACK, seed + count))
                wrong = [number for number in seeds if not await _one(number, stack)]
            failed += wrong
            if wrong:
                keep_logs(directory, kept / str(first))
            shutil.rmtree(directory, ignore_errors=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print(f"{count} storms in {time.monotonic() - started:.0f} s: {len(failed)} failed", flush=True)
    return 1 if failed else 0


async def _one(seed: int, stack: SupervisedStack) -> bool:
    started, storm = time.monotonic(), random_storm(seed)
    problems = await run_storm(storm, stack)
    verdict = "FAILED" if problems else "ok"
    print(f"seed {seed}: {verdict}, {storm}, {time.monotonic() - started:.1f} s", flush=True)
    for problem in problems:
        print(f"  WRONG: {problem}", flush=True)
    if problems:
        print(f"  repeat: make faults ARGS='gateway --count 1 --seed {seed}'", flush=True)
    return not problems
