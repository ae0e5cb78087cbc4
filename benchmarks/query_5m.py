"""The first page of every single filter on 5 million events, over HTTP. The value is the worst p95.

Some pairs of filters are measured too.
"""

import asyncio
import statistics
import sys
import time
from datetime import UTC, datetime

import httpx2

from benchmarks.__main__ import machine
from benchmarks.grown_ledger import DATABASE, EVENTS, PARENT, SPAN, open_grown
from benchmarks.ingest import service
from kubernaut.ops import logs
from kubernaut.ops.logs import LogLevel

ROUNDS = 20
TARGET = 50.0  # ms
NOW = datetime.now(UTC)
FILTERS: dict[str, dict[str, str]] = {
    "nothing": {},
    "correlation_id": {"correlation_id": "rr-7"},
    "event_type": {"event_type": "signalprocessing.classification.decision"},
    "event_type, rare": {"event_type": "gateway.signal.received"},
    "event_category": {"event_category": "signalprocessing"},
    "event_category, absent": {"event_category": "security"},
    "event_outcome": {"event_outcome": "success"},
    "event_outcome, rare": {"event_outcome": "failure"},
    "event_outcome, absent": {"event_outcome": "pending"},
    "severity": {"severity": "critical"},
    "severity, absent": {"severity": "none"},
    "resource": {"resource_type": "Pod", "resource_id": "pod-7"},
    "actor": {"actor_type": "service", "actor_id": "signalprocessing-controller"},
    "actor, rare": {"actor_id": "mary"},
    "namespace": {"namespace": "ns-7"},
    "namespace, absent": {"namespace": "none"},
    "parent_event_id": {"parent_event_id": PARENT},
    "since": {"since": (NOW - SPAN / 60).isoformat()},
    "until": {"until": (NOW - SPAN * 59 / 60).isoformat()},
    "detail_key": {"detail_key": "phase", "detail_value": "Classifying"},
    "detail_key, rare": {"detail_key": "attempt", "detail_value": str(EVENTS // 2)},
    "detail_key, no match": {"detail_key": "phase", "detail_value": "none"},
    "detail_key, no such key": {"detail_key": "none", "detail_value": "none"},
}
PAIRS: dict[str, dict[str, str]] = {
    "detail_key, common, and namespace": {"namespace": "ns-7", "detail_key": "phase", "detail_value": "Classifying"},
    "detail_key, rare, and namespace": {"namespace": "ns-7", "detail_key": "attempt", "detail_value": "7"},
    "detail_key, no match, and severity": {"severity": "critical", "detail_key": "phase", "detail_value": "none"},
    "detail_key and correlation_id": {"correlation_id": "rr-7", "detail_key": "phase", "detail_value": "Classifying"},
    "namespace and severity": {"namespace": "ns-7", "severity": "info"},
}
SLOW = {"detail_key, in no recent event": {"detail_key": "signal", "detail_value": "HighCPU"}}
"""Where another benchmark has written other events since; it stands apart, because no index has details in order."""


async def measure(client: httpx2.AsyncClient, filters: dict[str, str], rounds: int) -> tuple[float, int]:
    """p95 in milliseconds, and the total of the page."""
    took, total = [], 0
    for _ in range(rounds):
        started = time.perf_counter()
        answer = await client.get("/api/v1/audit/events", params=filters)
        took.append((time.perf_counter() - started) * 1000)
        total = answer.raise_for_status().json()["pagination"]["total"]
    return statistics.quantiles(took, n=20)[18], total


async def run() -> None:
    """Measure once and print the result."""
    logs.configure(LogLevel.WARN)
    worst = 0.0
    async with (
        open_grown() as grown,
        service(grown.server, DATABASE, grown.folder) as url,
        httpx2.AsyncClient(base_url=url, timeout=120) as client,
    ):
        print(f"{machine()}; {EVENTS} events", file=sys.stderr)
        for name, filters in (FILTERS | PAIRS | SLOW).items():
            await measure(client, filters, 2)
            p95, total = await measure(client, filters, ROUNDS)
            if name in FILTERS:
                worst = max(worst, p95)
            print(f"{name}: p95 {p95:.1f} ms, total {total}", file=sys.stderr)
    print(f"query-5m {worst:.1f} ms ratio={worst / TARGET:.2f}")


def main() -> None:
    asyncio.run(run())


if __name__ == "__main__":
    main()
