"""`record()` as a reconcile calls it, and how many events a second the spool makes durable.

The value is the median time of one call with one event of 1 KB. The baseline is a bare `write` and `fdatasync` of the
same bytes in groups of a thousand, in the same run: the ratio is the spool's durable events per second to it. Nobody
listens at the other end, so that nothing but recording is measured.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import msgspec

from benchmarks.__main__ import machine
from kubernaut.api.events import AuditEvent
from kubernaut.api.vocabulary import EventOutcome
from kubernaut.audit import AuditConfig, ClientConfig, SpoolConfig, open_audit
from kubernaut.ops import logs

CALLS = 20_000
EVENTS = 100_000
GROUP = 1000
PAYLOAD = b'{"note":"%s"}' % (b"x" * 640)


def an_event() -> AuditEvent:
    """An event of about 1 KB."""
    return AuditEvent(
        event_type="signalprocessing.phase.transition",
        event_timestamp=datetime.now(UTC),
        event_category="signalprocessing",
        event_action="phase_transition",
        event_outcome=EventOutcome.SUCCESS,
        correlation_id="rr-benchmark",
        event_data=msgspec.Raw(PAYLOAD),
        event_id=uuid4(),
    )


def bare_writes(folder: Path, size: int) -> float:
    """Events per second of writing the same bytes and syncing each group."""
    group = b"x" * size * GROUP
    with (folder / "bare").open("wb", buffering=0) as file:
        started = time.perf_counter()
        for _ in range(EVENTS // GROUP):
            file.write(group)
            os.fdatasync(file.fileno())
        return EVENTS / (time.perf_counter() - started)


async def run(folder: Path) -> None:
    """Measure once and print the result."""
    config = AuditConfig(
        spool=SpoolConfig(directory=folder / "spool"), client=ClientConfig(url="http://127.0.0.1:9"), drain_timeout=0
    )
    took = []
    async with open_audit(config, "benchmark") as store:
        for number in range(CALLS):
            event = [an_event()]
            before = time.perf_counter()
            store.record(event)
            took.append(1e6 * (time.perf_counter() - before))
            if number % 10 == 0:
                await asyncio.sleep(0)
        await store.committed()
        events = [an_event() for _ in range(EVENTS)]
        started = time.perf_counter()
        for start in range(0, EVENTS, 10):
            store.record(events[start : start + 10])
            if start % GROUP == 0:
                await asyncio.sleep(0)
        await store.committed()
        durable = EVENTS / (time.perf_counter() - started)
    size = len(msgspec.json.encode(events[0]))
    bare = bare_writes(folder, size)
    quantiles = statistics.quantiles(took, n=100)
    print(
        f"{machine()}; events of {size} bytes; record() p50 {quantiles[49]:.1f} µs,"
        f" p99 {quantiles[98]:.1f} µs; durable {durable:.0f} events/s; bare write {bare:.0f} events/s",
        file=sys.stderr,
    )
    print(f"record {quantiles[49]:.1f} µs ratio={durable / bare:.2f}")


def main() -> None:
    logs.configure(logs.LogLevel.ERROR, stream=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="kn-bench-") as name:
        asyncio.run(run(Path(name)))


if __name__ == "__main__":
    main()
