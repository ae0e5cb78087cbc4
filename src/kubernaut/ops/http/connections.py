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

MAX_UNREAD_SIZE = 16 * 2**20
"""Bytes of responses that wait in this process until their clients read."""


class Connection(Protocol):
    """What may be closed to make room."""

    def evict(self, reason: str) -> None: ...


class ConnectionTable:
    """All connections of a service, over all its servers, the limits that hold for them, and the access log."""

    def __init__(self, limits: HttpLimits, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self.limits = limits
        self.access_log = AccessLog(registry, limits.max_log_lines)
        self.max_connections = available_connections(limits)
        self._open: set[Connection] = set()
        self._waiting: OrderedDict[Connection, None] = OrderedDict()
        self._unread: OrderedDict[Connection, int] = OrderedDict()  # bytes of responses that clients leave unread
        self.unread_size = 0
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
            oldest.evict("too-many-connections")
            has_room = True
        self._open.add(connection)
        self._waiting[connection] = None
        return has_room

    def remove(self, connection: Connection) -> None:
        """The connection is closed, or is about to be."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)
        self.unblock(connection)

    def wait(self, connection: Connection) -> None:
        """From now on it is the client's turn."""
        if connection in self._open:
            self._waiting[connection] = None
            self._waiting.move_to_end(connection)

    def block(self, connection: Connection, size: int) -> None:
        """Its client leaves `size` bytes unread. Of too many bytes, those that wait longest are dropped."""
        self.unblock(connection)
        self._unread[connection] = size
        self.unread_size += size
        self.wait(connection)
        while self.unread_size > MAX_UNREAD_SIZE and len(self._unread) > 1:
            oldest = next(iter(self._unread))
            self.remove(oldest)
            oldest.evict("response-not-read")

    def unblock(self, connection: Connection) -> None:
        """Its client has read."""
        self.unread_size -= self._unread.pop(connection, 0)

    def work(self, connection: Connection) -> None:
        """From now on it is the service's turn."""
        self._waiting.pop(connection, None)
