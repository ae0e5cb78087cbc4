"""The suite `record`: many histories, some of them at once, with a line for each."""

import asyncio
import multiprocessing
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from faults.histories import random_history
from faults.runner import Outcome, run_history
from faults.stack import Template, make_template
from kubernaut.ops import logs


def run(count: int, seed: int, jobs: int, kept: Path) -> int:
    """Run the histories of `count` seeds; the exit code."""
    logs.configure(logs.LogLevel.ERROR, stream=sys.stderr)
    root = Path(tempfile.mkdtemp(prefix="kn-faults-"))
    root.chmod(0o711)
    started = time.monotonic()
    try:
        template = asyncio.run(make_template(root / "template"))
        _say(f"{count} histories, seeds {seed} to {seed + count - 1}, {jobs} at once")
        if not template.has_disks:
            _say("no tmpfs can be mounted here: disks are not filled")
        if template.library is None:
            _say("no clock can be faked here (it needs cc): clocks do not jump")
        outcomes = _all(template, range(seed, seed + count), jobs, root, kept)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    failed = [outcome for outcome in outcomes if outcome.problems]
    faults = Counter(
        action.fault for outcome in outcomes for action in outcome.history.actions if action not in outcome.skipped
    )
    _say(", ".join(f"{number} {fault}" for fault, number in faults.most_common()))
    _say(
        f"{count} histories in {time.monotonic() - started:.0f} s: {len(failed)} failed, "
        f"{sum(outcome.acknowledged for outcome in outcomes)} events acknowledged, "
        f"{sum(outcome.verifications for outcome in outcomes)} verifications"
    )
    for outcome in failed:
        _say(f"failed: seed {outcome.history.seed}, files in {outcome.kept}")
    return 1 if failed else 0


def _all(template: Template, seeds: range, jobs: int, root: Path, kept: Path) -> list[Outcome]:
    """Each in a process of its own, so that the proxies of one history never wait for another one."""
    outcomes: list[Outcome] = []
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = [pool.submit(_one, seed, template, root / str(seed), kept / str(seed)) for seed in seeds]
        try:
            for done in as_completed(running):
                outcome = done.result()
                outcomes.append(outcome)
                _say(outcome.explained() if outcome.problems else str(outcome))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return outcomes


def _one(seed: int, template: Template, path: Path, kept: Path) -> Outcome:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `timeout` sends it to every process of a run
    logs.configure(logs.LogLevel.ERROR, stream=sys.stderr)
    history = random_history(seed, has_disks=template.has_disks, has_clocks=template.library is not None)
    return asyncio.run(run_history(history, template, path, kept))


def _say(text: str) -> None:
    print(text, flush=True)
