"""The open connections of a service: how many there are, and which one has to go when there are too many.

A connection waits while it is its client's turn: to send a request, or to read a response. Those are the ones that cost
the client nothing, so when the limit is reached the one that has waited longest is closed. A normal client sends its
request at once, and is not among the oldest.
"""

from collections import OrderedDict
from typing import Protocol

from prometheus_client import CollectorRegistry, Gauge

from kubernaut.ops.http.access_log import AccessLog
from kubernaut.ops.http.limits import HttpLimits, available_connections


class Connection(Protocol):
    """What may be closed to make room."""

    def evict(self) -> None: ...


class ConnectionTable:
    """All connections of a service, over all its servers, the limits that hold for them, and the access log."""

    def __init__(self, limits: HttpLimits, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self.limits = limits
        self.access_log = AccessLog(registry, limits.max_log_lines)
        self.max_connections = available_connections(limits)
        self._open: set[Connection] = set()
        self._waiting: OrderedDict[Connection, None] = OrderedDict()
        gauge = Gauge("kubernaut_http_connections", "Open connections of the HTTP server.", registry=registry)
        gauge.set_function(lambda: self.open_count)

    @property
    def open_count(self) -> int:
        return len(self._open)

    def add(self, connection: Connection) -> bool:
        """Take a new connection in, at the cost of the longest waiting one. False if none can go."""
        has_room = len(self._open) < self.max_connections
        if not has_room and self._waiting:
            oldest = next(iter(self._waiting))
            self.remove(oldest)
            oldest.evict()
            has_room = True
        self._open.add(connection)
        self._waiting[connection] = None
        return has_room

    def remove(self, connection: Connection) -> None:
        """The connection is closed, or is about to be."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)

    def wait(self, connection: Connection) -> None:
        """From now on it is the client's turn."""
        if connection in self._open:
            self._waiting[connection] = None
            self._waiting.move_to_end(connection)

    def work(self, connection: Connection) -> None:
        """From now on it is the service's turn."""
        self._waiting.pop(connection, None)
