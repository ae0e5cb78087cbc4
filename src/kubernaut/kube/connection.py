"""HTTP to one API server: authentication, time limits, and errors as `KubeError`.

Calls use aiohttp, because it needs a fifth of the processor time of httpx2, and calls are most of what the gateway and
the controller do. Authentication is lightkube's: an httpx2 flow, of which only the Authorization header is used.

Watches have connections of their own. Each holds one for minutes, and in a shared pool a few dozen would starve the
calls.
"""

import asyncio
import contextlib
import io
import ipaddress
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
from lightkube.core.exceptions import ConfigError
from yarl import URL

from kubernaut.kube.errors import ApiServerUnreachable, IdleTimeout, KubeError, TimedOut, Unauthorized, from_body

_STREAMED = 2**20
"""Bytes of a body from which on aiohttp wants it as a file, to send it in parts."""


class Authorization:
    """The Authorization header that an httpx2 authentication flow sets, for every request anew."""

    def __init__(self, auth: httpx2.Auth | None, url: str) -> None:
        self._auth = auth
        self._request = httpx2.Request("GET", url)  # one for all: its header is read as soon as a flow has set it

    async def header(self) -> str:
        """Empty when requests need none. Raises `Unauthorized` when there is no credential."""
        if self._auth is None:
            return ""
        async with self._flow(self._auth) as (header, _):
            return header

    async def renewed(self) -> str:
        """The header to try after the server rejected the last one; empty when there is no other."""
        if self._auth is None:
            return ""
        async with self._flow(self._auth) as (_, flow):
            try:
                return _header_of(await flow.asend(httpx2.Response(401, request=self._request)))
            except StopAsyncIteration:
                return ""

    @asynccontextmanager
    async def _flow(
        self, auth: httpx2.Auth
    ) -> AsyncIterator[tuple[str, AsyncGenerator[httpx2.Request, httpx2.Response]]]:
        flow = auth.async_auth_flow(self._request)
        try:
            yield _header_of(await anext(flow)), flow
        except ConfigError as error:  # a token file that vanished
            raise Unauthorized(str(error)) from error
        finally:
            await flow.aclose()


@dataclass(frozen=True, kw_only=True)
class ConnectionConfig:
    url: str
    tls: ssl.SSLContext | bool
    """Certificates to trust and to show; False accepts any certificate of the server."""
    auth: httpx2.Auth | None
    user_agent: str
    timeout: float
    """Seconds to wait for a connection, and again for each part of a response."""
    max_connections: int
    """Calls in flight at a time; more wait. Watches are not counted."""


class Connection:
    """Requests to one API server. Every method raises a `KubeError`; none waits without a limit."""

    def __init__(self, calls: aiohttp.ClientSession, watches: aiohttp.ClientSession, config: ConnectionConfig) -> None:
        self._calls = calls
        self._watches = watches
        self._timeout = config.timeout
        self._authorization = Authorization(config.auth, config.url)
        self.url = config.url.rstrip("/")

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        content: bytes | None = None,
        content_type: str = "",
    ) -> bytes:
        """The body of a successful response.

        A request is sent again when its credential was rejected, and once, if its method is idempotent, when a
        connection that was kept open had been closed by the server.
        """
        return (await self._request(method, path, query, content, content_type))[1]

    async def server_time(self, path: str) -> datetime | None:
        """The clock of the server as it answers a GET, to the second; None where it does not tell."""
        headers, _ = await self._request("GET", path)
        try:
            told = parsedate_to_datetime(headers["date"])
        except (KeyError, ValueError):
            return None
        # A date without an offset is one in UTC.
        return told.astimezone(UTC) if told.tzinfo else told.replace(tzinfo=UTC)

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        content: bytes | None = None,
        content_type: str = "",
    ) -> tuple[Mapping[str, str], bytes]:
        operation = f"{method} {path}"
        headers = {"content-type": content_type} if content_type else {}
        data = content if content is None or len(content) < _STREAMED else io.BytesIO(content)
        with _kube_errors(operation):
            response = await self._authenticated(self._calls, method, self._address(path, query), headers, data=data)
            async with response:
                body = await response.read()
        if not 200 <= response.status < 300:
            raise _rejected(response, body, operation)
        return response.headers, body

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], operation: str, idle_timeout: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The parts of a successful response as they come; `IdleTimeout` after `idle_timeout` seconds without any."""
        response = await self._open_stream(path, query, operation, idle_timeout)
        try:
            yield _parts(response, operation, idle_timeout)
        finally:
            response.close()

    async def _open_stream(
        self, path: str, query: Mapping[str, str], operation: str, idle_timeout: float
    ) -> aiohttp.ClientResponse:
        limits = aiohttp.ClientTimeout(total=None, sock_read=idle_timeout)
        with _kube_errors(operation):
            async with asyncio.timeout(self._timeout):
                address = self._address(path, query)
                response = await self._authenticated(self._watches, "GET", address, {}, timeout=limits)
                if 200 <= response.status < 300:
                    return response
                async with response:
                    raise _rejected(response, await response.read(), operation)

    async def _authenticated(
        self, session: aiohttp.ClientSession, method: str, url: URL, headers: dict[str, str], **options: Any
    ) -> aiohttp.ClientResponse:
        header = await self._authorization.header()
        response = await session.request(method, url, headers=_with(headers, header), **options)
        if response.status == 401 and (header := await self._renewed(response)):
            response = await session.request(method, url, headers=_with(headers, header), **options)
        return response

    async def _renewed(self, response: aiohttp.ClientResponse) -> str:
        header = await self._authorization.renewed()
        if header:
            await response.read()  # so that its connection can be used again
        return header

    def _address(self, path: str, query: Mapping[str, str] | None) -> URL:
        # Paths and queries come encoded; to parse and to encode them again would cost a tenth of a call.
        return URL(f"{self.url}{path}?{urlencode(query)}" if query else f"{self.url}{path}", encoded=True)


@asynccontextmanager
async def open_connection(config: ConnectionConfig) -> AsyncIterator[Connection]:
    """Sessions of their own for calls and for watches. It does not connect yet."""
    calls = aiohttp.TCPConnector(limit=config.max_connections, ssl=config.tls, keepalive_timeout=60.0)
    watches = aiohttp.TCPConnector(limit=0, ssl=config.tls, keepalive_timeout=5.0)
    async with _session(calls, config) as calling, _session(watches, config) as watching:
        yield Connection(calling, watching, config)


def _session(connector: aiohttp.TCPConnector, config: ConnectionConfig) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        headers={
            "accept": "application/json",
            # Compressing costs the server more than the bytes cost a network inside a cluster.
            "accept-encoding": "identity",
            "user-agent": config.user_agent,
        },
        timeout=aiohttp.ClientTimeout(total=None, connect=config.timeout, sock_read=config.timeout),
        cookie_jar=aiohttp.DummyCookieJar(),
        proxy=proxy_of(config.url),
    )


def proxy_of(url: str) -> str | None:
    """The proxy that the environment names for a server, as curl and kubectl read it; addresses match networks too."""
    parts = urlsplit(url)
    host, proxies = parts.hostname or "", getproxies()
    proxy = proxies.get(parts.scheme)
    if proxy is None or proxy_bypass(host) or _is_in_network(host, proxies.get("no", "")):
        return None
    return proxy


def _is_in_network(host: str, no_proxy: str) -> bool:
    """Whether an address is in one of the networks of `NO_PROXY`, which Python's own reading does not know."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        for entry in no_proxy.split(","):
            with contextlib.suppress(ValueError):
                if "/" in entry and address in ipaddress.ip_network(entry.strip(), strict=False):
                    return True
    return False


def _header_of(request: httpx2.Request) -> str:
    return request.headers.get("authorization", "")


def _with(headers: dict[str, str], authorization: str) -> dict[str, str]:
    return {**headers, "authorization": authorization} if authorization else headers


def _rejected(response: aiohttp.ClientResponse, body: bytes, operation: str) -> KubeError:
    return from_body(response.status, body, operation, response.headers.get("retry-after", ""))


async def _parts(response: aiohttp.ClientResponse, operation: str, idle_timeout: float) -> AsyncGenerator[bytes, None]:
    try:
        async for part in response.content.iter_any():
            yield part
    except aiohttp.ServerTimeoutError as error:
        raise IdleTimeout(f"{operation}: nothing received for {idle_timeout:g} s") from error
    except aiohttp.ClientError as error:
        raise _unreachable(error, operation) from error


@contextmanager
def _kube_errors(operation: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:  # aiohttp's own among them
        raise TimedOut(f"{operation}: no response in time ({type(error).__name__})") from error
    except aiohttp.ClientError as error:
        raise _unreachable(error, operation) from error
    except Unauthorized as error:
        raise Unauthorized(f"{operation}: {error}") from error


def _unreachable(error: aiohttp.ClientError, operation: str) -> ApiServerUnreachable:
    return ApiServerUnreachable(f"{operation}: {str(error) or type(error).__name__}")
