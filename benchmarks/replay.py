"""Recorded signals decided again per second, from a file of audit events; the bare decision is the baseline."""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from kubernaut.api.events import AuditEvent
from kubernaut.api.vocabulary import EventType
from kubernaut.signalprocessing.policy import recorded, smoke
from kubernaut.signalprocessing.policy.live import PolicyVersion, open_policy
from kubernaut.signalprocessing.policy.replay import BATCH, in_order, replay
from kubernaut.signalprocessing.policy.sources import builtin, from_text
from support import recorded as history

SIGNALS = 30_000


async def bare(policy: PolicyVersion, count: int) -> float:
    """Decisions per second with as many at the same time as a replay has."""
    inputs = smoke.representative_inputs()
    began = time.perf_counter()
    for start in range(0, count, BATCH):
        await asyncio.gather(*(policy.decide(inputs[(start + place) % len(inputs)]) for place in range(BATCH)))
    return count / (time.perf_counter() - began)


def write(path: Path, events: list[AuditEvent]) -> None:
    lines = [msgspec.json.encode(event) + b"\n" for event in events]
    path.write_bytes(b"".join(lines[number % len(lines)] for number in range(SIGNALS)))


async def measure(path: Path) -> None:
    text = builtin().files[0][1].replace('"Staging": {"critical": "P1"', '"Staging": {"critical": "P0"')
    async with open_policy(builtin()) as policy, open_policy(from_text(text)) as changed:
        events = history.events(await history.decided_signals(policy))
        write(path, [event for event in events if event.event_type == EventType.CLASSIFICATION_DECISION])
        baseline = await bare(changed, SIGNALS // 4)
        began = time.perf_counter()
        report = await replay(in_order(recorded.read_file(path)), changed)
        rate = SIGNALS / (time.perf_counter() - began)
    print(f"replay: {len(report.changes)} of {report.signals} change; bare {baseline:.0f} decisions/s", file=sys.stderr)
    print(f"replay {rate:.0f} signals/s ratio={rate / baseline:.2f}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(measure(Path(folder) / "events.ndjson"))


if __name__ == "__main__":
    main()
