"""One history from start to end: faults while clients write, then healing, then the checks."""

import asyncio
import os
import signal
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import valkey.asyncio

from faults import actions, checker
from faults.actions import NotPossible
from faults.checker import QUEUE
from faults.histories import Action, History
from faults.outcomes import observe
from faults.stack import Stack, Template, open_stack
from support.eventually import eventually

VERIFY = "/api/v1/audit/verify-chain"
AUDIT_INTERVAL = 0.5  # seconds
VERIFY_TIMEOUT = 60.0  # seconds until a healed replica answers
FINISH_TIMEOUT = 75.0  # seconds; more than a client's own limit
DRAIN_TIMEOUT = 40.0  # seconds


@dataclass(kw_only=True)
class Outcome:
    """What became of a history."""

    history: History
    problems: list[str] = field(default_factory=list)
    skipped: dict[Action, str] = field(default_factory=dict)
    acknowledged: int = 0
    stored: int = 0
    verifications: int = 0
    took: float = 0.0
    kept: Path | None = None

    def __str__(self) -> str:
        verdict = "FAILED" if self.problems else "ok"
        return (
            f"seed {self.history.seed}: {verdict}, {len(self.history.actions) - len(self.skipped)} faults, "
            f"{self.acknowledged} acknowledged, {self.stored} stored, {self.verifications} verifications, "
            f"{self.took:.1f} s"
        )

    def explained(self) -> str:
        """The verdict, the history as a list, what was found, and how to repeat it."""
        lines = [str(self), *str(self.history).splitlines()[1:]]
        lines += [f"  not possible: {action}: {reason}" for action, reason in self.skipped.items()]
        lines += [f"  WRONG: {problem}" for problem in self.problems]
        lines.append(f"  repeat: make faults ARGS='record --count 1 --seed {self.history.seed}'; files in {self.kept}")
        return "\n".join(lines)


async def run_history(history: History, template: Template, path: Path, kept: Path) -> Outcome:
    """Run it below `path`, which is gone afterwards; `kept` gets the logs of a history that failed."""
    outcome = Outcome(history=history)
    opening = open_stack(history, template, path)
    await observe(outcome, opening, lambda stack: _run(stack, history, outcome), path, kept)
    return outcome


async def _run(stack: Stack, history: History, outcome: Outcome) -> None:
    auditor = asyncio.create_task(_audit(stack, outcome))
    try:
        await _write(stack, history, outcome)
        await actions.heal(stack)
        actions.pass_time(stack, history)
        ended = datetime.now(UTC)
        await asyncio.gather(*(_finish(stack, client.name) for client in history.clients))
        await _drained(stack)
    finally:
        auditor.cancel()
        await asyncio.gather(auditor, return_exceptions=True)
    checked = await checker.check(stack, history, ended)
    outcome.acknowledged, outcome.stored = checked.acknowledged, checked.stored
    outcome.problems += checked.problems
    for url in stack.replicas():
        await eventually(
            lambda url=url: _verify(url, outcome), timeout=VERIFY_TIMEOUT, interval=0.1, description=f"{url} verifies"
        )


async def _write(stack: Stack, history: History, outcome: Outcome) -> None:
    """The time in which clients write and faults happen."""

    async def perform(action: Action) -> None:
        await asyncio.sleep(action.at)
        try:
            await actions.perform(stack, action)
        except NotPossible as error:
            outcome.skipped[action] = str(error)

    async with asyncio.TaskGroup() as tasks:
        for action in history.actions:
            tasks.create_task(perform(action))
        tasks.create_task(asyncio.sleep(history.duration))


async def _finish(stack: Stack, name: str) -> None:
    """Let a client deliver what it holds, and end."""
    component = stack.components[name]
    component.may_start.clear()
    process = component.process_of(component.running)
    os.kill(process.pid, signal.SIGUSR1)
    async with asyncio.timeout(FINISH_TIMEOUT):
        await process.wait()


async def _drained(stack: Stack) -> None:
    """Return when the dead-letter queue is empty."""
    client = valkey.asyncio.from_url(stack.valkey)

    async def is_empty() -> bool:
        return not await client.xlen(QUEUE)

    try:
        await eventually(is_empty, timeout=DRAIN_TIMEOUT, interval=0.05, description="the dead-letter queue is empty")
    finally:
        await client.aclose()


async def _audit(stack: Stack, outcome: Outcome) -> None:
    """Verify again and again while faults happen: none of them is tampering."""
    turn = 0
    while True:
        await asyncio.sleep(AUDIT_INTERVAL)
        urls = stack.replicas()
        if urls:
            turn += 1
            await _verify(urls[turn % len(urls)], outcome)


async def _verify(url: str, outcome: Outcome) -> bool:
    """Whether there was an answer; a verification that finds something is a problem."""
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=20) as http:
            answer = await http.post(url + VERIFY)
    except httpx2.HTTPError:
        return False
    if not answer.is_success:
        return False
    outcome.verifications += 1
    verification: dict[str, Any] = answer.json()
    if not verification["is_valid"]:
        outcome.problems.append(f"false alarm: {verification['findings'][:3]}")
    return True
