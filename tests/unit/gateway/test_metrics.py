from prometheus_client import CollectorRegistry

from kubernaut.gateway.metrics import MAX_SENDERS, OTHER_SENDERS, GatewayMetrics
from kubernaut.gateway.responses import Result, ResultStatus


def test_senders_beyond_a_number_share_a_time_series():
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry)
    result = Result(status=ResultStatus.CREATED, name="Down", message="")

    for number in range(MAX_SENDERS + 10):
        metrics.count_results("prometheus", f"10.0.0.{number}", [result], 0)

    def count(sender: str) -> float | None:
        return registry.get_sample_value("gateway_sender_alerts_total", {"sender": sender, "status": "created"})

    assert (count("10.0.0.0"), count(OTHER_SENDERS), count(f"10.0.0.{MAX_SENDERS}")) == (1, 10, None)
