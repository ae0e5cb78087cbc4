"""What was stored of notifications that were not stored whole, so that their next delivery begins where this one ended.

Without it, a notification of some ten thousand alerts would spend the whole time limit of each delivery on alerts that
are stored already, and never end. It is an optimisation only: what has been forgotten is processed again, which counts
nothing twice.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from kubernaut.gateway.alertmanager import Alert, AlertStatus
from kubernaut.gateway.responses import Result

MAX_ALERTS = 100_000
TTL = 300.0  # seconds
"""A sender comes again much earlier; an alert that comes later is a repetition, and must be seen."""

AlertKey = tuple[str, AlertStatus, datetime | None, datetime | None]


def key_of(alert: Alert) -> AlertKey:
    """Identifies the alert as it is in this delivery and in the next one."""
    return (alert.id, alert.status, alert.starts_at, alert.ends_at)


class StoredAlerts:
    """Alerts that were stored a short while ago, as far as the sender does not know it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._results: OrderedDict[AlertKey, tuple[float, Result]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._results)

    def add(self, key: AlertKey, result: Result) -> None:
        # Without what was counted, which may be more by now.
        self._results[key] = (self._clock() + TTL, replace(result, deduplication=None))
        while len(self._results) > MAX_ALERTS:
            self._results.popitem(last=False)

    def get(self, key: AlertKey) -> Result | None:
        """What became of the alert; None when it has to be processed."""
        forgotten_at, result = self._results.get(key, (0.0, None))
        return result if self._clock() < forgotten_at else None

    def discard(self, key: AlertKey) -> None:
        self._results.pop(key, None)
