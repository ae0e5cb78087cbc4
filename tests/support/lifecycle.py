"""Retention, holds and erasures on a test's database, at a time that the test chooses."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry

from kubernaut.datastorage.config import DatabaseConfig, RetentionConfig
from kubernaut.datastorage.erasure import Erasure
from kubernaut.datastorage.legal_holds import LegalHolds
from kubernaut.datastorage.lifecycle_metrics import LifecycleMetrics
from kubernaut.datastorage.retention import Retention
from support.ledger_events import NOW


@dataclass
class Lifecycle:
    """All of it over one database."""

    url: str
    batch_size: int = 1000
    now: datetime = field(default=NOW + timedelta(days=3000))
    metrics: LifecycleMetrics = field(default_factory=lambda: LifecycleMetrics(CollectorRegistry()))

    @property
    def database(self) -> DatabaseConfig:
        return DatabaseConfig.from_url(self.url)

    @property
    def retention(self) -> Retention:
        config = RetentionConfig(batch_size=self.batch_size)
        return Retention(self.database, config, self.metrics, lambda: self.now.astimezone(UTC))

    @property
    def holds(self) -> LegalHolds:
        return LegalHolds(database=self.database, metrics=self.metrics, clock=lambda: self.now)

    @property
    def erasure(self) -> Erasure:
        return Erasure(database=self.database, metrics=self.metrics, clock=lambda: self.now)
