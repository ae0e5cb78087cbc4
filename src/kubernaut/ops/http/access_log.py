"""One log line and one count for every request that was not served: who asked for what, and why not.

A stranger can send a million bad requests and must not fill the disk, so the lines of one second are bounded. The
requests left out are counted, and the counts are logged once a second. The metric always counts all of them.
"""

import time
from collections import Counter as Tally
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry, Counter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kubernaut.api.problems import Slug

log = structlog.get_logger("http")

MAX_PATH_LENGTH = 200


@dataclass(frozen=True, kw_only=True)
class RejectedRequest:
    """A request that was answered with an error, or that could not be answered."""

    reason: str
    """One of a small set of words: it is a metric label."""
    status: int = 0
    """0 when nothing could be answered."""
    client: str
    method: str = ""
    path: str = ""
    cause: str = ""


class AccessLog:
    """The rejected requests of one service."""

    def __init__(
        self,
        registry: CollectorRegistry,
        max_lines: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_lines = max_lines  # per second
        self._clock = clock
        self._second = 0
        self._lines = 0
        self._suppressed: Tally[str] = Tally()
        self._rejected = Counter(
            "kubernaut_http_requests_rejected",
            "Requests that were answered with an error or not at all.",
            ["reason"],
            registry=registry,
        )

    def rejected(self, request: RejectedRequest) -> None:
        """Count the request, and log it unless there were too many in this second."""
        self._rejected.labels(request.reason).inc()
        second = int(self._clock())
        if second != self._second:
            self.flush()
            self._second, self._lines = second, 0
        if self._lines >= self._max_lines:
            self._suppressed[request.reason] += 1
            return
        self._lines += 1
        data = {"method": request.method, "path": request.path, "cause": request.cause}
        write = log.warning if request.status >= 500 else log.info
        write(
            "request rejected",
            reason=request.reason,
            status=request.status,
            client=request.client,
            **{name: value for name, value in data.items() if value},
        )

    def flush(self) -> None:
        """Log how many lines were left out since the last call."""
        if self._suppressed and int(self._clock()) != self._second:
            total = sum(self._suppressed.values())
            log.warning("rejected requests not logged", count=total, by_reason=dict(self._suppressed))
            self._suppressed.clear()


class AccessLogMiddleware:
    """Reports every response of an application that is an error."""

    def __init__(self, app: ASGIApp, access_log: AccessLog) -> None:
        self._app = app
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def observe(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                self._report(scope, message["status"])
            await send(message)

        try:
            await self._app(scope, receive, observe)
        except Exception:
            # Starlette raises an unexpected error again after it was logged and answered.
            if scope.get("state", {}).get("rejected") is not Slug.INTERNAL:
                raise

    def _report(self, scope: Scope, status: int) -> None:
        state = scope.get("state", {})
        if state.get("is_reported"):
            return
        client = scope.get("client")
        self._access_log.rejected(
            RejectedRequest(
                reason=str(state.get("rejected", f"status-{status}")),
                status=status,
                client=f"{client[0]}:{client[1]}" if client else "",
                method=scope["method"],
                path=printable(scope.get("raw_path") or scope["path"].encode()),
                cause=state.get("cause", ""),
            )
        )


def printable(raw: bytes) -> str:
    """A path as a log line may carry it: ASCII, escaped, at most MAX_PATH_LENGTH bytes, without the query."""
    path = raw.partition(b"?")[0]
    text = repr(path[:MAX_PATH_LENGTH])[2:-1]
    return text + "…" if len(path) > MAX_PATH_LENGTH else text
