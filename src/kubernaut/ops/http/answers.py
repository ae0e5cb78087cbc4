"""Answers of other servers: bounded in bytes, since a proxy that sends without end must not fill our memory."""

from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2

_OF_THE_BODY = frozenset({"content-encoding", "content-length", "transfer-encoding"})


class AnswerTooLarge(ValueError):
    """A server has answered with more than its answer can have."""


def no_cookies() -> CookieJar:
    """Cookies of a client that takes none: what a proxy sets could make every later request fail, or another user's."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


async def request(
    http: httpx2.AsyncClient,
    method: str,
    url: str,
    *,
    max_size: int,
    content: bytes | str | None = None,
    params: Mapping[str, str | int] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> httpx2.Response:
    """The answer to a request, with its whole body of at most `max_size` bytes, decompressed.

    `timeout` is in seconds, for each read and write; None leaves that of the client. Raises AnswerTooLarge, what the
    library raises for a server that cannot be reached, and ValueError for header fields that it cannot read.
    """
    limit = httpx2.USE_CLIENT_DEFAULT if timeout is None else timeout
    async with http.stream(method, url, content=content, params=params, headers=headers, timeout=limit) as response:
        parts: list[bytes] = []
        size = 0
        async for part in response.aiter_bytes():
            size += len(part)
            if size > max_size:
                raise AnswerTooLarge(f"status {response.status_code} with more than {max_size} bytes")
            parts.append(part)
    kept = [(name, value) for name, value in response.headers.raw if name.decode("latin-1").lower() not in _OF_THE_BODY]
    return httpx2.Response(
        response.status_code,
        headers=kept,
        content=b"".join(parts),
        request=response.request,
        extensions={key: value for key, value in response.extensions.items() if key == "reason_phrase"},
    )
