"""uvicorn's HTTP/1.1 protocol with limits: of the header section, of time, and of connections.

uvicorn on httptools bounds neither how long a client takes nor how much it sends before the application sees anything.
Here each connection has one deadline, which moves on when the client makes progress, and the server looks at all of
them once a second, so that a request costs no timer. What is rejected here, before there is a request for the
application, is answered with a problem document where HTTP still allows an answer, and reported to the access log.
"""

import asyncio
import math
from enum import Enum, auto
from typing import Any
from urllib.parse import unquote_to_bytes

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from kubernaut.api.problems import CONTENT_TYPE, Slug, problem
from kubernaut.ops.http.access_log import RejectedRequest, printable
from kubernaut.ops.http.connections import ConnectionTable

LINGER_TIMEOUT = 2.0
"""Seconds for which a rejected client is listened to: closing while it sends would destroy the answer on its way."""

MAX_LINGER_SIZE = 2**20
"""Bytes that are read and dropped meanwhile."""

MAX_PIPELINED = 16
"""Requests of one connection that wait for the response before theirs."""

SLICE = 16 * 1024
"""Bytes that the parser gets at a time, so that it never holds more of an unfinished header section than the limit."""


class _Receiving(Enum):
    """Which part of a request comes next from the client."""

    NOTHING = auto()
    HEADERS = auto()
    BODY = auto()


class _Rejected(Exception):
    """Stops the parser; `reject` has been called."""


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, table: ConnectionTable, **more: Any) -> None:
        super().__init__(*args, **more)
        self._table = table
        self._limits = table.limits
        self._receiving = _Receiving.NOTHING
        self._unparsed = 0  # bytes since the parser last told of anything but header fields
        self._deadline = math.inf  # of the client's turn
        self._write_deadline = math.inf  # for reading what was answered
        self._close_deadline = math.inf  # for the end of a connection that is being closed
        self._is_lingering = False
        self._lingered = 0

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._deadline = self.loop.time() + self._limits.header_timeout
        if not self._table.add(self):
            self.reject(Slug.UNAVAILABLE, "too many connections are open; try again later", "too-many-connections")

    def connection_lost(self, exc: Exception | None) -> None:
        self._table.remove(self)
        super().connection_lost(exc)

    def evict(self, reason: str) -> None:
        """Close at once: another connection needs the place."""
        if not self._is_lingering:
            self._report(reason)
        self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_deadline = self.loop.time() + self._limits.write_timeout
        self._table.block(self, self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._write_deadline = math.inf
        self._table.unblock(self)
        if self._is_responding():
            self._table.work(self)

    # Bytes from the client

    def data_received(self, data: bytes) -> None:
        if self._is_lingering:
            self._lingered += len(data)
            if self._lingered > MAX_LINGER_SIZE:
                self.transport.abort()
            return
        try:
            if len(data) <= SLICE:
                self._feed(data)
            else:
                view = memoryview(data)
                for start in range(0, len(data), SLICE):
                    self._feed(view[start : start + SLICE])
        except httptools.HttpParserUpgrade:
            pass  # served as the plain request that it also is
        except (httptools.HttpParserError, _Rejected):
            if not self._is_lingering and not self.transport.is_closing():
                self.reject(Slug.INVALID_REQUEST, "the request is not valid HTTP/1.1", "malformed-request")

    def _feed(self, data: bytes | memoryview) -> None:
        self._unparsed += len(data)
        self.parser.feed_data(data)
        # In a body this counts the extensions and trailers of chunks.
        if self._unparsed > self._limits.max_header_size:
            self._reject_headers(f"the header section exceeds {self._limits.max_header_size} bytes")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._receiving = _Receiving.HEADERS
        if self.cycle is not None:
            self._deadline = self.loop.time() + self._limits.header_timeout

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= self._limits.max_header_count:
            self._reject_headers(f"the request has more than {self._limits.max_header_count} header fields")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum([len(name) + len(value) + 4 for name, value in self.headers])
        if size > self._limits.max_header_size:
            self._reject_headers(f"the header section exceeds {self._limits.max_header_size} bytes")
        if len(self.pipeline) >= MAX_PIPELINED:
            self.reject(Slug.INVALID_REQUEST, "too many requests were pipelined", "too-many-pipelined-requests")
            raise _Rejected
        if b"%" in self.url and not _is_utf8(unquote_to_bytes(self.url)):
            # Decoded with replacements it would name something else than was asked for.
            self.reject(Slug.INVALID_REQUEST, "the path or the query is not UTF-8", "malformed-request")
            raise _Rejected
        super().on_headers_complete()
        self._unparsed = 0
        self._receiving = _Receiving.BODY
        self._deadline = self.loop.time() + self._limits.body_timeout
        if not self.pipeline:
            self._table.wait(self)

    def on_body(self, body: bytes) -> None:
        # What arrives after the response is dropped, until the body's time is over: a client that is cut off while it
        # sends may never see the response.
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed = 0
        self._receiving = _Receiving.NOTHING
        super().on_message_complete()
        if self._is_responding():
            self._deadline = math.inf
            self._table.work(self)
        else:
            self._await_request()

    def on_response_complete(self) -> None:
        # uvicorn's own would start a timer for the next request; the deadline does that here.
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._receiving is _Receiving.NOTHING:
            self._await_request()

    def _await_request(self) -> None:
        self._deadline = self.loop.time() + self._limits.keep_alive_timeout
        self._table.wait(self)

    def _is_responding(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    # Time

    def check_deadlines(self, now: float) -> None:
        """Close the connection if its client has exceeded a time limit."""
        if self.transport.is_closing() or self._is_lingering:
            if self._close_deadline == math.inf:  # somebody has closed it, and the client has not read everything yet
                self._close_deadline = now + self._limits.write_timeout
            elif now > self._close_deadline:
                self.transport.abort()
        elif now > self._write_deadline:
            self._report("response-not-read")
            self.transport.abort()
        elif now > self._deadline:
            self._expire(now)

    def _expire(self, now: float) -> None:
        if self._receiving is _Receiving.NOTHING:
            self.transport.close()
        elif self.flow.read_paused:
            # The service does not read at the moment; the client cannot do anything.
            self._deadline = now + self._limits.body_timeout
        elif self._receiving is _Receiving.BODY and not self._is_responding():
            self.transport.abort()  # it was answered, perhaps rejected, before its body was complete
        elif self._receiving is _Receiving.HEADERS:
            self.reject(Slug.REQUEST_TIMEOUT, f"the header section took more than {self._limits.header_timeout:g} s")
        else:
            self.reject(Slug.REQUEST_TIMEOUT, f"the body took more than {self._limits.body_timeout:g} s")

    # Rejection

    def _reject_headers(self, detail: str) -> None:
        self.reject(Slug.HEADERS_TOO_LARGE, detail)
        raise _Rejected

    def reject(self, slug: Slug, detail: str, reason: str = "") -> None:
        """Answer with a problem document, unless other responses come first, and close the connection."""
        can_answer = not self.pipeline and (
            not self._is_responding() or (self._receiving is _Receiving.BODY and not self.cycle.response_started)
        )
        self._report(reason or str(slug), slug.status if can_answer else 0)
        if self._is_responding():
            # The application learns that the client is gone, and whatever it answers to that is dropped.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if not can_answer:
            self.transport.abort()
            return
        self.transport.write(self._problem(slug, detail))
        self._is_lingering = True
        self._close_deadline = self.loop.time() + LINGER_TIMEOUT
        self.headers, self.url = [], b""
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _problem(self, slug: Slug, detail: str) -> bytes:
        body = msgspec.json.encode(problem(slug, detail, retry=slug.status >= 500))
        headers = [
            *self.server_state.default_headers,
            (b"content-type", CONTENT_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        if slug is Slug.UNAVAILABLE:
            headers.append((b"retry-after", b"1"))
        lines = b"".join([b"%s: %s\r\n" % header for header in headers])
        return b"%s%s\r\n%s" % (STATUS_LINE[slug.status], lines, body)

    def _report(self, reason: str, status: int = 0) -> None:
        if self._is_responding():
            self.cycle.scope["state"]["is_reported"] = True
            method, path = self.cycle.scope["method"], self.cycle.scope["raw_path"]
        elif self._receiving is not _Receiving.NOTHING:
            method, path = self.scope.get("method", ""), self.url
        else:
            method, path = "", b""
        self._table.access_log.rejected(
            RejectedRequest(
                reason=reason,
                status=status,
                client=f"{self.client[0]}:{self.client[1]}" if self.client else "",
                method=method,
                path=printable(path),
            )
        )


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
