"""The gateway's metrics."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram

from kubernaut.gateway.responses import Result


class GatewayMetrics:
    """Alerts by result, and durations of requests."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._alerts = Counter(
            "gateway_alerts_total", "Alerts received, by result.", ["source", "status"], registry=registry
        )
        self._duration = Histogram(
            "gateway_http_request_duration_seconds",
            "Time from the first byte of a notification to its response.",
            ["path", "status"],
            registry=registry,
        )

    def count_results(self, source: str, results: Iterable[Result]) -> None:
        for result in results:
            self._alerts.labels(source, result.status).inc()

    def observe_request(self, path: str, status: int, seconds: float) -> None:
        self._duration.labels(path, str(status)).observe(seconds)
