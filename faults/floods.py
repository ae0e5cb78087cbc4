"""`gateway --alerts N`: N alerts on as many targets begin within a minute, under the limits of a production cluster.

Groups of alerts begin one after the other. Each is delivered as an Alertmanager delivers it: until the answer is 2xx,
with its time limit and its back-off. Some end again. When a third of the alerts is stored the gateway is killed, and
when two thirds are, the API server. A proxy in front of the API server notes each write of the gateway and the
controller. In the end every alert has exactly its signal, its state and its audit events, and no ten seconds had more
writes than the limit.
"""

import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx2

from faults.api_proxy import ApiProxy, Write, open_api_proxy
from faults.stack import keep_logs
from faults.storms import Step, Storm, alert_of, settled
from kubernaut.embedded.services import CommonSettings
from kubernaut.ops import logs
from kubernaut.ops.backoff import Backoff
from kubernaut.ops.tasks import background
from support.alerts import a_webhook
from support.supervised_stack import SupervisedStack, open_supervised_stack

MAX_WRITES = 100  # per second, of the gateway and the controller together
WINDOW = 10.0  # seconds in which they are counted
DURATION = 60.0  # seconds in which the groups begin
GROUP_SIZE = 50
ENDING = 10
"""Of so many groups, one has alerts that end."""

RETRY = Backoff(initial_delay=0.5, max_delay=60.0, factor=1.5, jitter=0.5)
"""As Alertmanager's."""
REQUEST_TIMEOUT = 10.0  # seconds
SECONDS_PER_ALERT = 0.2
"""Until everything must have been accepted: three times as long as the limit of writes asks for."""
SETTLE_TIMEOUT = 300.0  # seconds
SETTLE_INTERVAL = 3.0  # seconds
REPORT_INTERVAL = 30.0  # seconds
MAX_PROBLEMS = 50
EXPECTED_ANSWERS = {"201", "202", "207", "503", "none"}
KILLS = ("gateway", "apiserver")


def flood_of(count: int, seed: int) -> Storm:
    """Each group is a sender of one notification, or of two when some of its alerts end."""
    rng = random.Random(seed)
    senders = []
    for number, first in enumerate(range(0, count, GROUP_SIZE)):
        pods = [f"pod-{target}" for target in range(first, min(first + GROUP_SIZE, count))]
        ended = set(rng.sample(pods, len(pods) // 2)) if number % ENDING == 0 else set()
        states = [set(), ended] if ended else [ended]
        steps = (
            Step(alerts=tuple(alert_of(seed, number, (pod, "0"), 0, resolved=pod in gone) for pod in pods))
            for gone in states
        )
        senders.append(tuple(steps))
    return Storm(seed=seed, senders=tuple(senders), kills=())


@dataclass(kw_only=True)
class Delivery:
    """What the senders have seen."""

    accepted: int = 0
    """Alerts of notifications that were answered with 2xx."""
    answers: Counter[str] = field(default_factory=Counter)
    """Answers by status, and requests without one."""
    rejected: list[str] = field(default_factory=list)
    """Answers after which an Alertmanager does not come again."""


async def deliver(storm: Storm, stack: SupervisedStack, seen: Delivery, duration: float) -> None:
    """Send everything, each group from its time on."""
    interval = duration / len(storm.senders)
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
    async with (
        httpx2.AsyncClient(timeout=REQUEST_TIMEOUT, trust_env=False, limits=limits) as http,
        asyncio.TaskGroup() as tasks,
    ):
        for number, steps in enumerate(storm.senders):
            tasks.create_task(_deliver_group(http, stack, f"group-{number}", steps, seen))
            await asyncio.sleep(interval)


async def _deliver_group(
    http: httpx2.AsyncClient, stack: SupervisedStack, group: str, steps: tuple[Step, ...], seen: Delivery
) -> None:
    for step in steps:
        body = json.dumps(a_webhook(*step.alerts, groupKey=group))
        attempt = 0
        while True:
            try:
                answer = await http.post(stack.webhook, content=body, headers={"content-type": "application/json"})
            except httpx2.TransportError:
                seen.answers["none"] += 1
            else:
                seen.answers[str(answer.status_code)] += 1
                if answer.is_success:
                    seen.accepted += len(step.alerts)
                    break
                if answer.status_code < 500:
                    seen.rejected.append(answer.text[:500])
                    break
            attempt += 1
            await asyncio.sleep(RETRY.delay(attempt))


async def kill_and_report(stack: SupervisedStack, proxy: ApiProxy, count: int, seen: Delivery) -> None:
    """Kill each part when its share of the alerts is stored, and say now and then how far it is; for ever."""
    started = time.monotonic()
    kills, reported = list(KILLS), 0.0
    while True:
        stored = sum(write.path.endswith("/remediationrequests") for write in proxy.writes)
        if kills and stored >= count * (len(KILLS) - len(kills) + 1) // (len(KILLS) + 1):
            victim = kills.pop(0)
            await stack[victim].is_up.wait()
            stack[victim].kill()
            print(f"  {time.monotonic() - started:.0f} s: killed {victim} when {stored} alerts were stored", flush=True)
        if time.monotonic() - reported >= REPORT_INTERVAL:
            reported = time.monotonic()
            print(
                f"  {reported - started:.0f} s: {stored} of {count} alerts stored, {seen.accepted} accepted,"
                f" answers {dict(seen.answers)}, {len(proxy.writes)} writes",
                flush=True,
            )
        await asyncio.sleep(1)


def busiest(writes: list[Write], window: float = WINDOW) -> float:
    """The most writes per second in any `window` seconds."""
    most = first = 0
    for last, write in enumerate(writes):
        while write.at - writes[first].at > window:
            first += 1
        most = max(most, last - first + 1)
    return most / window


@asynccontextmanager
async def open_flooded_stack(directory: Path, seed: int) -> AsyncIterator[tuple[SupervisedStack, ApiProxy]]:
    """The system with a proxy in front of its API server, and with the limits of one that others use too."""
    proxies = []
    directory.mkdir(parents=True)

    async def behind_proxy(common: CommonSettings) -> CommonSettings:
        written = directory / "proxied-kubeconfig"
        opening = open_api_proxy(common.kubeconfig, written, random.Random(seed))
        proxies.append(await stack.enter_async_context(opening))
        return replace(common, kubeconfig=written, has_own_api_server=False)

    async with AsyncExitStack() as stack:
        opening = open_supervised_stack(directory, durable=False, change_settings=behind_proxy)
        async with opening as parts:
            yield parts, proxies[0]


async def run(count: int, seed: int, kept: Path) -> int:
    """One flood; the exit code."""
    logs.configure(logs.LogLevel.ERROR, stream=sys.stderr)
    root = Path(tempfile.mkdtemp(prefix="kn-flood-"))
    root.chmod(0o711)
    directory = root / "flood"
    print(f"{count} alerts on as many targets begin within {DURATION:g} s, seed {seed}")
    print(f"  the gateway and the controller may write less than {MAX_WRITES}/s, so it takes minutes", flush=True)
    try:
        async with open_flooded_stack(directory, seed) as (stack, proxy):
            problems = await run_flood(flood_of(count, seed), stack, proxy)
        if problems:
            keep_logs(directory, kept)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    for problem in problems[:MAX_PROBLEMS]:
        print(f"  WRONG: {problem}", flush=True)
    print("FAILED" if problems else "ok: none lost, none twice, open and ended ones right", flush=True)
    return 1 if problems else 0


async def run_flood(storm: Storm, stack: SupervisedStack, proxy: ApiProxy, duration: float = DURATION) -> list[str]:
    """Send it while parts are killed, and say what there was to see; what is wrong."""
    count = sum(len(steps[0].alerts) for steps in storm.senders)
    seen, started = Delivery(), time.monotonic()
    proxy.writes.clear()
    async with background(kill_and_report(stack, proxy, count, seen), name="kills"):
        try:
            async with asyncio.timeout(duration + count * SECONDS_PER_ALERT):
                await deliver(storm, stack, seen, duration)
        except TimeoutError:
            return [f"not accepted in time: {seen}"]
        accepted = time.monotonic()
        await stack.all_up()
        problems = await settled(storm, stack, SETTLE_TIMEOUT, interval=SETTLE_INTERVAL)
    by_sender = Counter(write.user_agent for write in proxy.writes)
    rates = {agent: busiest([write for write in proxy.writes if write.user_agent == agent]) for agent in by_sender}
    both = busiest(proxy.writes)
    print(f"  all accepted after {accepted - started:.0f} s, answers {dict(seen.answers)}")
    print(f"  all decided and recorded after {time.monotonic() - started:.0f} s")
    print(f"  writes: {dict(by_sender)}, {len(proxy.writes) / count:.2f} an alert")
    print(f"  most writes per second in any {WINDOW:g} s: {both:.1f}, by sender {rates}", flush=True)
    problems += [f"rejected, which no Alertmanager repeats: {text}" for text in seen.rejected]
    if both >= MAX_WRITES:
        problems.append(f"{both:.1f} writes per second in {WINDOW:g} s")
    if errors := {status: number for status, number in seen.answers.items() if status not in EXPECTED_ANSWERS}:
        problems.append(f"answers that nobody expects: {errors}")
    return problems
