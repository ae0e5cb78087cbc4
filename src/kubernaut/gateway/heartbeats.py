"""Alerts that always fire, so that their absence shows that alerting is broken. They open no signal."""

import re
from collections.abc import Iterable
from fnmatch import translate

from prometheus_client import CollectorRegistry, Gauge

from kubernaut.gateway.alertmanager import Alert


class Heartbeats:
    """Knows heartbeats by their names, and when the last one came."""

    def __init__(self, patterns: Iterable[str], registry: CollectorRegistry) -> None:
        self._patterns = {pattern: re.compile(translate(pattern), re.IGNORECASE) for pattern in patterns}
        self._received_at = Gauge(
            "gateway_heartbeat_timestamp_seconds",
            "Time of the last firing alert of a pattern of intake.ignore.",
            ["alert"],
            registry=registry,
        )

    def observe(self, alert: Alert) -> bool:
        """Whether the alert is a heartbeat; the time of a firing one is kept."""
        for pattern, expression in self._patterns.items():
            if expression.fullmatch(alert.name):
                if alert.is_firing:
                    self._received_at.labels(pattern).set_to_current_time()
                return True
        return False
