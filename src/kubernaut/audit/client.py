"""DataStorage over HTTP: writing batches, and reading the audit log."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import quote
from uuid import UUID

import httpx2
import msgspec

from kubernaut.api.events import (
    AFTER_QUEUED_HEADER,
    AuditEvent,
    BatchCreated,
    BatchResults,
    EventPage,
    EventResult,
    LedgerRange,
    Timeline,
    Verification,
    VerifyRequest,
)
from kubernaut.audit.config import ClientConfig
from kubernaut.audit.errors import StoreError, StoreUnreachable, StoreUnrecognized, TokenUnusable, check
from kubernaut.ops import tracing
from kubernaut.ops.http import answers
from kubernaut.ops.json_faults import JSON_FAULTS, json_fault
from kubernaut.ops.logins import without_login
from kubernaut.ops.settings import SettingsError

EVENTS = "/api/v1/audit/events"
BATCH = "/api/v1/audit/events/batch"
VERIFY = "/api/v1/audit/verify-chain"
EXPORT = "/api/v1/audit/export"
USER_HEADER = "X-Auth-Request-User"
_JSON = {"content-type": "application/json", "accept": "application/json, application/problem+json"}
_AFTER_QUEUED = {AFTER_QUEUED_HEADER: "true"}
_LENIENT = {"prefer": "handling=lenient"}
_LEDGER_RANGE = {"prefer": "ledger-range"}
MAX_RESULTS_BYTES = 8 * 2**20
"""Of an answer about one batch: a thousand events, each with its reasons."""

MAX_ANSWER_BYTES = 2**30
"""Of any other answer, which somebody waits for."""

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})

T = TypeVar("T")


class DataStorageClient:
    """One DataStorage. Every method raises a StoreError that carries the text of the store's problem document."""

    def __init__(self, connections: "_Connections", config: ClientConfig) -> None:
        self._connections = connections
        self._url = config.url.rstrip("/")
        self._timeout = config.timeout
        self._token = _Token(config.token_file) if config.token_file else None

    async def send(self, events: Sequence[AuditEvent]) -> list[LedgerRange]:
        """Write a batch, all or nothing; when it returns, the store has the events on disk.

        Returns where they stand in the ledgers; nothing while they wait in the store's dead-letter queue.
        """
        ids = [event.event_id for event in events]
        body = msgspec.json.encode(events)
        response = await self._ask("POST", BATCH, content=body, headers=_LEDGER_RANGE)
        batch_results(response, ids)
        return msgspec.json.decode(response.content, type=BatchCreated).ledger

    async def send_encoded(
        self,
        bodies: Sequence[bytes],
        ids: Sequence[UUID | None],
        *,
        is_lenient: bool = False,
        is_after_queued: bool = False,
    ) -> list[EventResult]:
        """The same, for events that are JSON texts already; one result per event.

        A lenient batch stores the events that are good, and has another status than 201 or 202 for the others. After
        events that the store has queued, it has to know that the queue is empty before it stores these.
        Raises StoreUnrecognized when the answer does not name the ids that were sent, whatever its status is.
        """
        body = b"[" + b",".join(bodies) + b"]"
        headers = {**(_LENIENT if is_lenient else _NO_HEADERS), **(_AFTER_QUEUED if is_after_queued else _NO_HEADERS)}
        response = await self._ask("POST", BATCH, content=body, headers=headers, max_size=MAX_RESULTS_BYTES)
        return batch_results(response, ids)

    async def query(self, filters: Mapping[str, str | int] | None = None) -> EventPage:
        """One page of events, newest first; `filters` are the query parameters of the store."""
        return await self._read("GET", EVENTS, EventPage, params=dict(filters or {}))

    async def timeline(self, correlation_id: str) -> Timeline:
        """Every event of one correlation in causal order; empty when there is none."""
        # A client resolves the segments `.` and `..` before it sends a path, unless they are escaped.
        path = f"/api/v1/audit/timeline/{quote(correlation_id, safe='').replace('.', '%2E')}"
        found = await self._read("GET", path, Timeline)
        events = found.events
        while found.has_more and found.events:
            found = await self._read("GET", path, Timeline, params={"after": found.events[-1].sequence})
            events += found.events
        return Timeline(correlation_id=correlation_id, events=events, has_more=False)

    async def verify(self, request: VerifyRequest | str | None = None, *, timeout: float = 600.0) -> Verification:
        """Verify one correlation id, what a request names, or everything, which may take its time."""
        if not isinstance(request, VerifyRequest):
            request = VerifyRequest(correlation_id=request)
        return await self._read("POST", VERIFY, Verification, content=msgspec.json.encode(request), timeout=timeout)

    async def call(
        self, method: str, path: str, type: type[T], *, body: msgspec.Struct | None = None, user: str = ""
    ) -> T:
        """Ask for something that is done in the name of `user`, where the store does not authenticate by itself."""
        content = msgspec.json.encode(body) if body is not None else None
        return await self._read(method, path, type, content=content, headers={USER_HEADER: user} if user else {})

    async def export(self, filters: Mapping[str, str], *, user: str) -> AsyncGenerator[bytes, None]:
        """An export in pieces, however long it is, to be closed; `filters` are the query parameters of the store."""
        headers = {USER_HEADER: user}
        if self._token:
            headers["authorization"] = f"Bearer {self._token.value()}"
        try:
            http = await self._connections.current()
            async with http.stream(
                "GET", EXPORT, params=dict(filters), headers=headers, timeout=self._timeout
            ) as response:
                if response.is_error:
                    await response.aread()
                check(response)
                async with aclosing(response.aiter_bytes()) as chunks:
                    async for chunk in chunks:
                        yield chunk
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise StoreUnreachable(
                f"network error: GET {without_login(self._url)}{EXPORT}: {str(error) or type(error).__name__}"
            ) from error

    async def _read(
        self,
        method: str,
        path: str,
        type: type[T],
        *,
        params: dict[str, str | int] | None = None,
        content: bytes | None = None,
        timeout: float | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> T:
        response = await self._ask(method, path, params=params, content=content, timeout=timeout, headers=headers)
        try:
            return msgspec.json.decode(response.content, type=type)
        except JSON_FAULTS as error:
            fault = f"the answer is not what a DataStorage sends: {json_fault(error)}"
            raise StoreError(
                f"{method} {path}: {fault}; is this the right address?",
                status=response.status_code,
            ) from error

    async def receipt(self, event_id: str) -> bytes:
        """The receipt of one event, as JSON. Raises AuditError."""
        return (await self._ask("GET", f"/api/v1/audit/events/{quote(event_id, safe='')}/receipt")).content

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str | int] | None = None,
        content: bytes | None = None,
        timeout: float | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
        max_size: int = MAX_ANSWER_BYTES,
    ) -> httpx2.Response:
        headers = {**_JSON, **tracing.trace_headers(), **headers}
        if self._token:
            headers["authorization"] = f"Bearer {self._token.value()}"
        timeout = timeout or self._timeout
        http = await self._connections.current()
        try:
            # The library's own limit is for each read and write; a store that drips would hold us for ever.
            async with asyncio.timeout(timeout):
                response = await answers.request(
                    http,
                    method,
                    path,
                    max_size=max_size,
                    params=params,
                    content=content,
                    headers=headers,
                    timeout=timeout,
                )
        except TimeoutError as error:
            raise StoreUnreachable(
                f"network error: {method} {without_login(self._url)}{path}: no answer within {timeout:g} s"
            ) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise StoreUnreachable(
                f"network error: {method} {without_login(self._url)}{path}: {str(error) or type(error).__name__}"
            ) from error
        except ValueError as error:  # more than an answer can have, or header fields that are no text
            raise StoreUnrecognized(
                f"{method} {without_login(self._url)}{path}: the answer is not what a DataStorage sends: {error}"
            ) from error
        check(response)
        return response


def batch_results(response: httpx2.Response, ids: Sequence[UUID | None]) -> list[EventResult]:
    """What a 2xx answer to a batch says about each event; raises StoreUnrecognized when it does not say it."""
    status = response.status_code
    try:
        if status in (201, 202):
            created = msgspec.json.decode(response.content, type=BatchCreated)
            results = [EventResult(index=i, status=status, event_id=id) for i, id in enumerate(created.event_ids)]
        elif status == 207:
            results = msgspec.json.decode(response.content, type=BatchResults).results
        else:
            raise StoreUnrecognized(f"Data Storage Service returned status {status}, expected 201, 202 or 207")
    except JSON_FAULTS as error:
        fault = f"without naming the events: {json_fault(error)}"
        raise StoreUnrecognized(
            f"Data Storage Service returned status {status} {fault}; is this the right URL?",
            status=status,
        ) from error
    if len(results) != len(ids) or not all(map(_answers, results, range(len(ids)), ids)):
        raise StoreUnrecognized(
            f"Data Storage Service returned status {status} for other events than those that were sent", status=status
        )
    return results


def is_stored(result: EventResult) -> bool:
    """Whether the store has the event on disk."""
    return result.status in (201, 202)


def _answers(result: EventResult, index: int, id: UUID | None) -> bool:
    is_same = id is None or result.event_id == id or (result.event_id is None and not is_stored(result))
    return result.index == index and is_same


class _Token:
    """A token that is read again when its file changes, as mounted service-account tokens do every hour."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version: tuple[int, ...] = ()
        self._text = ""

    def value(self) -> str:
        try:
            stat = self._path.stat()
            version = stat.st_mtime_ns, stat.st_ino, stat.st_size
            if version != self._version:
                text = self._path.read_bytes().decode(errors="replace").strip()
                if not text or not (text.isascii() and text.isprintable()):
                    raise TokenUnusable(f"the token file {self._path} holds no bearer token in one line")
                self._text, self._version = text, version
        except OSError as error:
            raise TokenUnusable(f"the token file {self._path} cannot be read: {error.strerror}") from error
        return self._text


class _Connections:
    """Connections that trust the CA certificates as they stand in their file now; new ones when those have changed."""

    def __init__(self, config: ClientConfig, stack: AsyncExitStack) -> None:
        self._config = config
        self._stack = stack
        self._version: tuple[int, ...] = ()
        self._certificates = b""
        self._http: httpx2.AsyncClient | None = None

    async def open(self) -> None:
        """Raises SettingsError when the CA certificates cannot be read."""
        self._read()
        self._http = await self._stack.enter_async_context(
            httpx2.AsyncClient(
                base_url=self._config.url,
                follow_redirects=False,
                trust_env=False,
                cookies=answers.no_cookies(),
                verify=self._config.tls_verification(),
            )
        )

    async def current(self) -> httpx2.AsyncClient:
        """Raises StoreUnreachable when changed CA certificates cannot be read; requests under way are not disturbed."""
        try:
            if self._http is None or self._read():
                await self.open()
        except SettingsError as error:
            self._version = ()  # read again by the next request
            raise StoreUnreachable(str(error)) from error
        if self._http is None:
            raise AssertionError("unreachable: open() has set it")
        return self._http

    def _read(self) -> bool:
        """Whether the file has other certificates than before."""
        if self._config.ca_file is None:
            return False
        try:
            stat = self._config.ca_file.stat()
            version = stat.st_mtime_ns, stat.st_ino, stat.st_size
            if version == self._version:
                return False
            certificates = self._config.ca_file.read_bytes()
        except OSError as error:
            raise SettingsError("caFile", str(self._config.ca_file), f"failed to read it: {error.strerror}") from error
        has_changed = certificates != self._certificates
        self._version, self._certificates = version, certificates
        return has_changed


@asynccontextmanager
async def open_client(config: ClientConfig) -> AsyncIterator[DataStorageClient]:
    """A client with its own connections. Nothing is sent before the first call."""
    async with AsyncExitStack() as stack:
        connections = _Connections(config, stack)
        await connections.open()
        yield DataStorageClient(connections, config)
