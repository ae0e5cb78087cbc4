"""The service verifies its ledgers by itself: what is new after each interval, and everything once in a while.

Up to where it has verified is kept in the memory of the process, which nobody with the database's password can edit;
so the first verification of a process reads everything. Nothing else depends on the result: it is logged and counted.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from kubernaut.api.events import LedgerHead, Verification, VerifyRequest
from kubernaut.datastorage.config import VerificationConfig
from kubernaut.datastorage.errors import DataStorageError
from kubernaut.ops.tasks import background

log = structlog.get_logger("datastorage")

RETRY_INTERVAL = 60.0
"""Seconds after a verification that could not be made, at most."""

Verify = Callable[[VerifyRequest], Awaitable[Verification]]


class VerificationMetrics:
    """Every collector, on one registry; `kind` is `full` or `incremental`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.runs = Counter(
            "kubernaut_datastorage_verification_runs",
            "Verifications by the service; `result` is verified, findings or failure (it could not be made).",
            ["kind", "result"],
            registry=registry,
        )
        self.is_valid = Gauge(
            "kubernaut_datastorage_verification_valid",
            "1 when the last verification found nothing, 0 when it found something.",
            ["kind"],
            registry=registry,
        )
        self.findings = Gauge(
            "kubernaut_datastorage_verification_findings", "Findings of the last one.", ["kind"], registry=registry
        )
        self.rows = Gauge(
            "kubernaut_datastorage_verification_rows", "Rows that the last one read.", ["kind"], registry=registry
        )
        self.duration = Gauge(
            "kubernaut_datastorage_verification_duration_seconds", "How long it took.", ["kind"], registry=registry
        )
        self.last_run = Gauge(
            "kubernaut_datastorage_verification_last_run_timestamp_seconds",
            "When the last one ended.",
            ["kind"],
            registry=registry,
        )


class ScheduledVerification:
    """Verifications of one process."""

    def __init__(self, verify: Verify, config: VerificationConfig, metrics: VerificationMetrics) -> None:
        self._verify = verify
        self._config = config
        self._metrics = metrics
        self._heads: list[LedgerHead] = []
        self._full_at = 0.0  # monotonic

    async def run(self) -> None:
        """Verify after each interval, for as long as the service runs."""
        pause = self._config.interval
        while True:
            await asyncio.sleep(pause)
            is_done = await self.verify()
            pause = self._config.interval if is_done else min(self._config.interval, RETRY_INTERVAL)

    async def verify(self) -> bool:
        """Verify once, in full where that is due; whether it could be made."""
        is_full = not self._heads or time.monotonic() - self._full_at >= self._config.full_interval
        kind = "full" if is_full else "incremental"
        started = time.monotonic()
        try:
            verification = await self._verify(VerifyRequest(verified_heads=[] if is_full else self._heads))
        except DataStorageError as error:
            self._metrics.runs.labels(kind, "failure").inc()
            log.warning("ledger not verified, retrying", kind=kind, error=str(error))
            return False
        self._count(kind, verification, time.monotonic() - started)
        if verification.is_valid:
            # What was wrong once is verified again, until somebody has put it right.
            self._heads = [msgspec.structs.replace(head, verified_after=0) for head in verification.heads]
            self._full_at = started if is_full else self._full_at
        return True

    def _count(self, kind: str, verification: Verification, took: float) -> None:
        metrics = self._metrics
        metrics.runs.labels(kind, "verified" if verification.is_valid else "findings").inc()
        metrics.is_valid.labels(kind).set(verification.is_valid)
        metrics.findings.labels(kind).set(len(verification.findings))
        metrics.rows.labels(kind).set(verification.total_events)
        metrics.duration.labels(kind).set(took)
        metrics.last_run.labels(kind).set(verification.verification_time.timestamp())
        facts = {"kind": kind, "rows": verification.total_events, "took": round(took, 3)}
        if verification.is_valid:
            log.info("ledger verified", **facts)
        else:
            first = verification.findings[0]
            log.error(
                "ledger verification failed, run: kubernaut audit verify --full",
                **facts,
                findings=len(verification.findings),
                sequence=first.sequence,
                event_id=str(first.event_id),
                finding=first.message,
            )


@asynccontextmanager
async def open_scheduled_verification(
    verify: Verify, config: VerificationConfig, registry: CollectorRegistry
) -> AsyncIterator[None]:
    """Verify while the block runs, unless it is switched off."""
    scheduled = ScheduledVerification(verify, config, VerificationMetrics(registry))
    if not config.interval:
        log.info("scheduled verification is disabled: verification.interval is 0")
        yield
        return
    async with background(scheduled.run(), "scheduled-verification"):
        yield
