"""Builders of Alertmanager notifications."""

from datetime import UTC, datetime, timedelta
from typing import Any

LONG_AGO = "0001-01-01T00:00:00Z"


def ago(**since: float) -> str:
    return (datetime.now(UTC) - timedelta(**since)).isoformat().replace("+00:00", "Z")


def an_alert(
    name: str = "KubePodCrashLooping",
    *,
    resolved: bool = False,
    starts_at: str = "",
    ends_at: str = "",
    **labels: str,
) -> dict[str, Any]:
    """An alert as Alertmanager sends it; keywords are labels."""
    return {
        "status": "resolved" if resolved else "firing",
        "labels": {"alertname": name, "severity": "critical", **labels},
        "annotations": {"summary": f"{name} fires"},
        "startsAt": starts_at or ago(minutes=5),
        "endsAt": ends_at or (ago(seconds=1) if resolved else LONG_AGO),
        "generatorURL": "http://prometheus.example.com/graph",
        "fingerprint": "0123456789abcdef",
    }


def over(alert: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The resolve notice of an alert."""
    return alert | {"status": "resolved", "endsAt": ago(seconds=1)} | changes


def a_webhook(*alerts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "version": "4",
        "groupKey": '{}:{namespace="shop"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "kubernaut",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example.com:9093",
        "alerts": list(alerts),
    } | changes
