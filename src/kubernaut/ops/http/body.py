"""Reading the body of a request, bounded in bytes for one request and over all of them."""

import asyncio
from codecs import BOM_UTF8

from starlette.requests import Request

from kubernaut.api.problems import Slug
from kubernaut.ops.http import decompression
from kubernaut.ops.http.decompression import CorruptBody, TooLarge
from kubernaut.ops.http.problems import RequestRejected

MAX_TOTAL_SIZE = 32 * 2**20
"""Bytes of all bodies that are being received at the same time."""

RETRY_AFTER = 2  # seconds


class BodyReader:
    """Reads bodies of one media type, or of any, and of at most `max_size` bytes, after decompression where accepted.

    Many clients that each send most of a body and then wait could fill the memory. Beyond MAX_TOTAL_SIZE, or one body
    of the greatest size, the body that has been arriving for the longest time is given up, which is the one of a slow
    client.
    """

    def __init__(
        self, max_size: int, *, media_type: str = "", default_type: str = "", accepts_compressed: bool = False
    ) -> None:
        """An empty `media_type` accepts any."""
        self._max_size = max_size
        self._media_type = media_type
        self._max_total_size = max(MAX_TOTAL_SIZE, max_size)
        self._default_type = default_type  # of a request without a content type
        self._codings = decompression.CODINGS if accepts_compressed else ()
        self._decompressing = asyncio.Lock()
        self._arriving: dict[asyncio.Timeout, int] = {}  # in the order of their start, to the bytes received
        self._total = 0

    async def read(self, request: Request) -> bytes:
        """The whole body, without a byte order mark. Raises RequestRejected."""
        self._check_type(request)
        given = self._given_coding(request)
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._max_size:
            raise self._too_large()
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(None) as eviction:
                self._arriving[eviction] = 0
                try:
                    async for part in request.stream():
                        size += len(part)
                        if size > self._max_size:
                            raise self._too_large()
                        if part:
                            parts.append(part)
                            self._account(eviction, size)
                finally:
                    self._total -= self._arriving.pop(eviction)
        except TimeoutError:
            detail = "too many bodies are being received; this one was the slowest. Send it again."
            raise RequestRejected(Slug.UNAVAILABLE, detail, retry_after=RETRY_AFTER) from None
        head = next((part[:2] for part in parts if part), b"")
        if self._codings and (coding := decompression.coding_of(head, given)):
            async with self._decompressing:  # one at a time, so that many small bodies do not become large together
                try:
                    parts = await asyncio.to_thread(decompression.decompressed, parts, coding, self._max_size)
                except TooLarge:
                    raise self._too_large() from None
                except CorruptBody as error:
                    raise RequestRejected(Slug.INVALID_REQUEST, str(error)) from error
        return b"".join(parts).removeprefix(BOM_UTF8)

    def _account(self, reading: asyncio.Timeout, size: int) -> None:
        self._total += size - self._arriving[reading]
        self._arriving[reading] = size
        if self._total <= self._max_total_size:
            return
        for other, held in self._arriving.items():
            if other is not reading and held:
                other.reschedule(asyncio.get_running_loop().time())
                self._arriving[other] = 0
                self._total -= held
                return

    def _check_type(self, request: Request) -> None:
        given = request.headers.get("content-type", self._default_type)
        if self._media_type and given.partition(";")[0].strip().lower() != self._media_type:
            detail = f"content type {given[:100]!r} is not supported; send {self._media_type}"
            raise RequestRejected(Slug.UNSUPPORTED_MEDIA_TYPE, detail)

    def _given_coding(self, request: Request) -> str:
        """What the header says about compression; empty where it says none. Raises RequestRejected."""
        given = request.headers.get("content-encoding", "")
        codings = [name for part in given.split(",") if (name := part.strip().lower()) not in ("", "identity")]
        if len(codings) > 1 or not set(codings) <= set(self._codings):
            accepted = f", or as {' or '.join(self._codings)}" if self._codings else ""
            detail = f"content encoding {given[:100]!r} is not supported; send it without encoding{accepted}"
            raise RequestRejected(Slug.UNSUPPORTED_MEDIA_TYPE, detail)
        return codings[0] if codings else ""

    def _too_large(self) -> RequestRejected:
        return RequestRejected(Slug.TOO_LARGE, f"the body exceeds the limit of {self._max_size} bytes")


class JsonBodyReader(BodyReader):
    """Reads JSON."""

    def __init__(self, max_size: int, *, default_type: str = "") -> None:
        super().__init__(max_size, media_type="application/json", default_type=default_type)
