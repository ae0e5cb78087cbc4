"""What a client may take from the server before it has sent a whole request: connections, bytes, time.

uvicorn waits for ever for the end of a header section or a body, and keeps whatever has arrived. Here a connection
has a limited time for each, the header section a limited size, and the server a limited number of connections.
At the limit a new connection takes the place of the one that has waited longest without a request: first those that
still owe their headers, then those that are idle between two requests. Requests and watches are never interrupted.
"""

import asyncio
import logging
import resource
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pocketkube.http.bodies import MAX_BODY_BYTES

MAX_HEADER_BYTES = 16 * 1024
MAX_HEADERS = 100
HEADER_TIMEOUT = 10.0  # seconds
BODY_TIMEOUT = 30.0  # seconds
MAX_CONNECTIONS = 512
BACKLOG = 128
"""Connections that the event loop may accept at once, before any of them is counted."""

_RESERVED_DESCRIPTORS = BACKLOG + 128  # for the backlog, the database, and whatever else the process has open
_MAX_MESSAGE_BYTES = MAX_HEADER_BYTES + 2 * MAX_BODY_BYTES  # with the overhead of chunks; a trailer counts too
_TIMED_OUT = (408, b"Request Timeout")
_TOO_LARGE = (431, b"Request Header Fields Too Large")

log = logging.getLogger(__name__)


def max_connections() -> int:
    """Return how many connections fit below the limit of open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(8, min(MAX_CONNECTIONS, soft - _RESERVED_DESCRIPTORS))


class ConnectionLimit:
    """The connections of one server, and which of them can go when there are too many."""

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.count = 0
        # Dictionaries, because they keep their order: the first one has waited longest.
        self.without_request: dict[LimitedProtocol, None] = {}
        self.idle: dict[LimitedProtocol, None] = {}
        self._is_logged = False

    def add(self, connection: "LimitedProtocol") -> None:
        """Count a new connection; close another one, or the new one, when there are too many."""
        self.count += 1
        self.without_request[connection] = None
        if self.count <= self.maximum:
            return
        if not self._is_logged:
            self._is_logged = True
            log.warning("connection limit of %d reached, closing connections without a request", self.maximum)
        for group in (self.without_request, self.idle):
            oldest = next((candidate for candidate in group if candidate is not connection), None)
            if oldest is not None:
                oldest.transport.abort()
                self.remove(oldest)
                return
        connection.transport.abort()

    def remove(self, connection: "LimitedProtocol") -> None:
        """Count a connection no more."""
        if connection.is_counted:
            connection.is_counted = False
            self.count -= 1
        self.without_request.pop(connection, None)
        self.idle.pop(connection, None)


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits."""

    limit: ConnectionLimit

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.is_counted = True
        self._in_headers = True
        self._in_body = False
        self._in_message = False
        self._messages_begun = 0
        self._message_bytes = 0
        self._timeout: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._timeout = self.loop.call_later(HEADER_TIMEOUT, self._on_timeout)
        self.limit.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timeout()
        self.limit.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        was_in_message, was_in_body = self._in_message, self._in_body
        self._messages_begun = 0
        self._message_bytes += len(data)
        super().data_received(data)
        if self._messages_begun == 1 and not was_in_message:
            self._message_bytes = len(data)
        if self.transport.is_closing():
            return
        if self._in_headers and (self._message_bytes > MAX_HEADER_BYTES or self._has_too_many_headers()):
            self._close_with(*_TOO_LARGE)
        elif self._in_body and self._message_bytes > _MAX_MESSAGE_BYTES:
            self.transport.close()
        elif self._in_body:
            if not was_in_body or self._timeout is None:
                self._restart_timeout(BODY_TIMEOUT)
        elif self._in_headers:
            if self._timeout is None:
                self._restart_timeout(HEADER_TIMEOUT)
        else:
            self._cancel_timeout()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_message = self._in_headers = True
        self._messages_begun += 1
        # In a chunk of several requests the first bytes of the last one are not counted.
        self._message_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        # A trailer is not kept, because nobody reads it.
        if self._in_headers and len(self.headers) <= MAX_HEADERS:
            super().on_header(name, value)

    def _has_too_many_headers(self) -> bool:
        return self._in_message and len(self.headers) > MAX_HEADERS

    def on_headers_complete(self) -> None:
        self._in_headers, self._in_body = False, True
        self.limit.without_request.pop(self, None)
        self.limit.idle.pop(self, None)
        if self._has_too_many_headers():
            self._close_with(*_TOO_LARGE)
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_message = self._in_body = False
        if not self.transport.is_closing():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and not self.pipeline:
            self.limit.idle[self] = None

    def _restart_timeout(self, seconds: float) -> None:
        self._cancel_timeout()
        self._timeout = self.loop.call_later(seconds, self._on_timeout)

    def _cancel_timeout(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None

    def _on_timeout(self) -> None:
        self._timeout = None
        if not self.transport.is_closing():
            self._close_with(*_TIMED_OUT)

    def _close_with(self, code: int, reason: bytes) -> None:
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(b"HTTP/1.1 %d %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % (code, reason))
        self.transport.close()


def limited_protocol(limit: ConnectionLimit) -> type[LimitedProtocol]:
    """Return a protocol class whose connections share this limit."""
    return type("LimitedProtocol", (LimitedProtocol,), {"limit": limit})
