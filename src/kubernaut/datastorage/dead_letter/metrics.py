"""What the dead-letter queue counts; the names of the Go project where the meaning is the same."""

from prometheus_client import CollectorRegistry, Counter, Gauge

STREAM = "audit_events"
"""The value of the label `stream`; there is one stream."""


class DeadLetterMetrics:
    """Every collector, on one registry. Depth and capacity are those of the shared queue, at the last look."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, description: str) -> Gauge:
            return Gauge(name, description, ["stream"], registry=registry).labels(STREAM)

        def counter(name: str, description: str) -> Counter:
            return Counter(name, description, ["stream"], registry=registry).labels(STREAM)

        self.depth = gauge("datastorage_dlq_depth", "Events in the dead-letter queue.")
        self.bytes = gauge("datastorage_dlq_bytes", "Bytes of the events in the queue and among the dead letters.")
        self.dead_letters = gauge("datastorage_dlq_dead_letters", "Events that could not be stored and wait for you.")
        self.capacity = gauge("datastorage_dlq_capacity_ratio", "Used share of the capacity, by events or bytes.")
        self.warning = gauge("datastorage_dlq_warning", "1 when 80 % of the capacity are used.")
        self.critical = gauge("datastorage_dlq_critical", "1 when 90 % of the capacity are used.")
        self.overflow_imminent = gauge("datastorage_dlq_overflow_imminent", "1 when 95 % of the capacity are used.")
        self.reachable = gauge("datastorage_dlq_reachable", "1 when Valkey answers.")
        self.enqueued = counter("datastorage_dlq_enqueue", "Events put into the queue by this process.")
        self.drained = counter("datastorage_dlq_drained", "Events moved from the queue to PostgreSQL by this process.")
        self.drain_batches = counter("datastorage_dlq_drain_batch", "Batches of events moved by this process.")
        self.moved_to_dead_letters = Counter(
            "datastorage_dlq_dead_letter", "Events moved to the dead letters.", ["reason"], registry=registry
        )
        self.shutdown_errors = counter(
            "datastorage_shutdown_dlq_drain_errors", "Shutdowns at which the queue was not empty in the end."
        )
