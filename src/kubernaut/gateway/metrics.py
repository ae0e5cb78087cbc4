"""The gateway's metrics."""

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kubernaut.gateway.responses import Result

MAX_SENDERS = 50
"""Senders with a time series of their own; the others share one."""

OTHER_SENDERS = "other"


class GatewayMetrics:
    """Alerts by result, reason and sender, and durations of requests."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._alerts = Counter(
            "gateway_alerts_total", "Alerts received, by result.", ["source", "status"], registry=registry
        )
        self._reasons = Counter(
            "gateway_alerts_not_stored_total",
            "Alerts that were rejected, or failed and come again, by reason.",
            ["status", "reason"],
            registry=registry,
        )
        self._adjustments = Counter(
            "gateway_alert_adjustments_total",
            "Fields of alerts that are stored in another form than they came in, by reason.",
            ["reason"],
            registry=registry,
        )
        self._of_senders = Counter(
            "gateway_sender_alerts_total",
            f"Alerts received, by sender: its identity, or its address; the first {MAX_SENDERS} have their own.",
            ["sender", "status"],
            registry=registry,
        )
        self._truncated = Counter(
            "gateway_truncated_alerts_total", "Alerts that senders left out of their notifications.", registry=registry
        )
        self._waiting = Gauge(
            "gateway_notifications_waiting", "Notifications that wait to be processed.", registry=registry
        )
        self._duration = Histogram(
            "gateway_http_request_duration_seconds",
            "Time from the first byte of a notification to its response.",
            ["path", "status"],
            registry=registry,
        )
        self._senders: set[str] = set()

    def watch_waiting(self, waiting: Callable[[], int]) -> None:
        """Show how many notifications wait."""
        self._waiting.set_function(waiting)

    def count_results(self, source: str, sender: str, results: Sequence[Result], truncated_alerts: int) -> None:
        """Count the results of one notification."""
        if len(self._senders) < MAX_SENDERS:
            self._senders.add(sender)
        sender = sender if sender in self._senders else OTHER_SENDERS
        for result in results:
            self._alerts.labels(source, result.status).inc()
            self._of_senders.labels(sender, result.status).inc()
            if result.reason is not None:
                self._reasons.labels(result.status, result.reason).inc()
            for adjustment in result.adjustments:
                self._adjustments.labels(adjustment.reason).inc()
        self._truncated.inc(truncated_alerts)

    def observe_request(self, path: str, status: int, seconds: float) -> None:
        self._duration.labels(path, str(status)).observe(seconds)
