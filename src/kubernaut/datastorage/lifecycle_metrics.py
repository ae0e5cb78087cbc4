"""What retention, holds and erasures count."""

from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge


class LifecycleMetrics:
    """Every collector, on one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.enabled = Gauge("datastorage_retention_enabled", "Whether retention is applied.", registry=registry)
        self.removed = Counter(
            "datastorage_retention_purge", "Payloads removed because their retention has ended.", registry=registry
        )
        self.erased = Counter("kubernaut_datastorage_erased_events", "Payloads erased by order.", registry=registry)
        self.held = Gauge(
            "kubernaut_datastorage_legal_holds", "Correlations under a legal hold when last counted.", registry=registry
        )
        self.runs = Counter(
            "kubernaut_datastorage_retention_runs", "Retention runs of this process.", ["result"], registry=registry
        )
        self.last_run = Gauge(
            "kubernaut_datastorage_retention_last_success_timestamp_seconds",
            "When this process last applied retention to the end.",
            registry=registry,
        )

    def succeeded(self, now: datetime) -> None:
        """Note a run that came to its end."""
        self.runs.labels("success").inc()
        self.last_run.set(now.timestamp())

    def failed(self) -> None:
        """Note a run that did not."""
        self.runs.labels("failure").inc()
