"""What DataStorage counts; the names of the Go project are kept where the meaning is the same."""

from collections import Counter as Tally
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kubernaut.datastorage.chain import Entry


class Metrics:
    """Every collector, on one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.traces = Counter(
            "datastorage_audit_traces", "Events answered, by category.", ["service", "status"], registry=registry
        )
        self.lag = Histogram(
            "datastorage_audit_lag_seconds",
            "Age of the oldest event of each request and category when it arrived.",
            ["service"],
            buckets=(0.1, 0.5, 1, 5, 30, 60, 300, 3600, 86400),
            registry=registry,
        )
        self.rejected = Counter(
            "datastorage_validation_failures", "Requests rejected at intake.", ["source", "reason"], registry=registry
        )
        self.write_seconds = Histogram(
            "datastorage_write_duration_seconds",
            "One write request from admission to commit; `audit_events` are single events.",
            ["table"],
            registry=registry,
        )
        self.commit_seconds = Histogram(
            "kubernaut_datastorage_commit_duration_seconds",
            "One transaction, which may serve many requests.",
            registry=registry,
        )
        self.query_seconds = Histogram(
            "datastorage_query_duration_seconds", "One read.", ["operation"], registry=registry
        )
        self.queries = Counter("datastorage_query", "Reads.", ["operation", "status"], registry=registry)
        self.checkpoint_size = Gauge(
            "kubernaut_datastorage_checkpoint_size",
            "Events under the newest checkpoint that this process signed.",
            ["ledger"],
            registry=registry,
        )
        self.group_events = Histogram(
            "kubernaut_datastorage_group_commit_events",
            "New events in one transaction.",
            buckets=(0, 1, 10, 50, 100, 200, 500, 1000, 2000),
            registry=registry,
        )
        self.missing_partitions = Gauge(
            "kubernaut_datastorage_missing_partitions",
            "Months that have events in the ledger and no partition.",
            registry=registry,
        )
        self.foreign_objects = Gauge(
            "kubernaut_datastorage_foreign_objects",
            "Triggers, rules, policies and altered columns on the tables of the ledger that are not ours.",
            registry=registry,
        )
        self.waiting = Gauge(
            "kubernaut_datastorage_waiting_events", "Events admitted and not yet committed.", registry=registry
        )

    def arrived(self, entries: Sequence[Entry]) -> None:
        """Note how old the events of one request are."""
        oldest: dict[str, float] = {}
        for entry in entries:
            age = (entry.received_at - entry.event.event_timestamp).total_seconds()
            category = entry.event.event_category
            oldest[category] = max(age, oldest.get(category, 0.0))
        for category, age in oldest.items():
            self.lag.labels(category).observe(age)

    def answered(self, entries: Sequence[Entry], status: str) -> None:
        """Count the events of one request as success, conflict or failure."""
        for category, count in Tally(entry.event.event_category for entry in entries).items():
            self.traces.labels(category, status).inc(count)
