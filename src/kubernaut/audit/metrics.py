"""What is counted on the way of an event to the store, under the names of the Go project."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kubernaut.audit.spool import Spool


class AuditMetrics:
    """The figures of one service's audit store; without a registry they are kept and shown to nobody."""

    def __init__(self, service: str, registry: CollectorRegistry | None) -> None:
        def counter(name: str, description: str) -> Counter:
            return Counter(name, description, ["service"], registry=registry).labels(service)

        def gauge(name: str, description: str) -> Gauge:
            return Gauge(name, description, ["service"], registry=registry).labels(service)

        self.buffered = counter("audit_events_buffered_total", "Events that record() took.")
        self.dropped = counter(
            "audit_events_dropped_total",
            "Events that record() rejected because the spool was full or could not be written; each attempt counts.",
        )
        self.written = counter("audit_events_written_total", "Events that DataStorage took.")
        self.quarantined = counter("audit_events_quarantined_total", "Events that DataStorage rejected for good.")
        self.failed = counter("audit_batches_failed_total", "Attempts to write a batch that failed.")
        self.duration = Histogram(
            "audit_write_duration_seconds", "Time of one attempt to write a batch.", ["service"], registry=registry
        ).labels(service)
        self._size = gauge("audit_buffer_size", "Events that wait.")
        self._bytes = gauge("audit_spool_bytes", "Bytes of events on disk, quarantine included.")
        self._capacity = gauge("audit_spool_capacity_bytes", "Bytes of events that may be on disk.")
        self._unreadable = gauge("audit_spool_unreadable_events", "Events that this process found damaged on disk.")
        self._quarantine = gauge("audit_quarantine_size", "Events in quarantine.")

    def watch(self, spool: Spool, capacity: int) -> None:
        """Show how full the spool is, as of the moment somebody asks."""
        self._size.set_function(lambda: spool.waiting)
        self._bytes.set_function(lambda: spool.bytes)
        self._quarantine.set_function(lambda: spool.quarantined)
        self._unreadable.set_function(lambda: spool.unreadable)
        self._capacity.set(capacity)
