"""The suite `decision`: histories of two controllers, one after the other, with a line for each."""

import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from faults import clocks, decision_checker
from faults.decision_actions import perform
from faults.decision_histories import DecisionFault, DecisionHistory, random_decision_history
from faults.decision_load import DecisionLoad
from faults.decision_stack import DecisionStack, open_decision_stack
from faults.outcomes import observe
from kubernaut.ops import logs


@dataclass(kw_only=True)
class DecisionOutcome:
    """What became of a history."""

    history: DecisionHistory
    problems: list[str] = field(default_factory=list)
    signals: int = 0
    events: int = 0
    took: float = 0.0
    kept: Path | None = None

    def __str__(self) -> str:
        verdict = "FAILED" if self.problems else "ok"
        return (
            f"seed {self.history.seed}: {verdict}, {len(self.history.actions)} faults, {self.signals} signals, "
            f"{self.events} events, {self.took:.1f} s"
        )

    def explained(self) -> str:
        """The verdict, the history as a list, what was found, and how to repeat it."""
        lines = [str(self), *str(self.history).splitlines()[1:]]
        lines += [f"  WRONG: {problem}" for problem in self.problems]
        lines.append(
            f"  repeat: make faults ARGS='decision --count 1 --seed {self.history.seed}'; files in {self.kept}"
        )
        return "\n".join(lines)


async def run_decision_history(
    history: DecisionHistory, path: Path, kept: Path, library: Path | None
) -> DecisionOutcome:
    """Run it below `path`, which is gone afterwards; `kept` gets the logs of a history that failed."""
    outcome = DecisionOutcome(history=history)
    rng = random.Random(f"choices {history.seed}")
    opening = open_decision_stack(path, rng, library)
    await observe(outcome, opening, lambda stack: _run(stack, history, outcome), path, kept)
    return outcome


async def _run(stack: DecisionStack, history: DecisionHistory, outcome: DecisionOutcome) -> None:
    load = DecisionLoad(stack.parts.client, stack.rng)
    await load.open_namespaces()

    async def later(number: int) -> None:
        action = history.actions[number]
        await asyncio.sleep(action.at)
        await perform(stack, load, action)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(load.raise_signals(history))
        for number in range(len(history.actions)):
            tasks.create_task(later(number))
    await stack.parts.all_up()
    left = await decision_checker.settled(stack, load)
    checked = await decision_checker.check(stack, load, left)
    outcome.signals, outcome.events = checked.signals, checked.events
    outcome.problems += checked.problems


def run(count: int, seed: int, kept: Path) -> int:
    """Run the histories of `count` seeds; the exit code."""
    logs.configure(logs.LogLevel.ERROR, stream=sys.stderr)
    root = Path(tempfile.mkdtemp(prefix="kn-decision-"))
    root.chmod(0o711)
    started, outcomes = time.monotonic(), []
    library = clocks.compile_library(root)
    if library is None:
        print("no clock can be faked here (it needs cc): clocks do not jump")
    try:
        for number in range(seed, seed + count):
            history = random_decision_history(number, has_clocks=library is not None)
            outcome = asyncio.run(run_decision_history(history, root / str(number), kept / str(number), library))
            outcomes.append(outcome)
            print(outcome.explained() if outcome.problems else outcome, flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    failed = [outcome for outcome in outcomes if outcome.problems]
    faults = Counter(action.fault for outcome in outcomes for action in outcome.history.actions)
    print(", ".join(f"{faults[fault]} {fault}" for fault in DecisionFault if faults[fault]))
    signals, events = sum(each.signals for each in outcomes), sum(each.events for each in outcomes)
    print(
        f"{count} histories in {time.monotonic() - started:.0f} s: {len(failed)} failed, "
        f"{signals} signals, {events} events"
    )
    return 1 if failed else 0
