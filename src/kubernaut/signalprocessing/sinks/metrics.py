"""The metrics of sinks."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class SinkMetrics:
    """One set for all sinks of a process, by their names."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ended = Counter(
            "signalprocessing_sink_events_total",
            "Finished signals that were delivered to a sink, or given up after its maxAge.",
            ["sink", "outcome"],
            registry=registry,
        )
        self._attempts = Counter(
            "signalprocessing_sink_attempts_total",
            "Requests to a sink by the class of their answer, such as 2xx; error is none.",
            ["sink", "answer"],
            registry=registry,
        )
        self._pending = Gauge(
            "signalprocessing_sink_pending_events", "Events that wait for a sink.", ["sink"], registry=registry
        )
        self._oldest = Gauge(
            "signalprocessing_sink_oldest_event_timestamp_seconds",
            "Since when the oldest event waits; 0 when none does.",
            ["sink"],
            registry=registry,
        )

    def ended(self, sink: str, outcome: str) -> None:
        self._ended.labels(sink, outcome).inc()

    def attempted(self, sink: str, answer: str) -> None:
        self._attempts.labels(sink, answer).inc()

    def pending(self, sink: str, count: int, oldest: float) -> None:
        self._pending.labels(sink).set(count)
        self._oldest.labels(sink).set(oldest)
