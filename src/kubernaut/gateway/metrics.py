"""What the gateway counts."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram

from kubernaut.gateway.responses import Result


class GatewayMetrics:
    """Alerts by what became of them, and requests by how long they took."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._alerts = Counter(
            "gateway_alerts_total", "Alerts received, by what became of them.", ["source", "status"], registry=registry
        )
        self._duration = Histogram(
            "gateway_http_request_duration_seconds",
            "Time from a notification's first byte to its answer.",
            ["path", "status"],
            registry=registry,
        )

    def count(self, source: str, results: Iterable[Result]) -> None:
        for result in results:
            self._alerts.labels(source, result.status).inc()

    def answered(self, path: str, status: int, took: float) -> None:
        self._duration.labels(path, str(status)).observe(took)
