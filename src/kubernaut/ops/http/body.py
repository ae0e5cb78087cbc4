"""Reading the body of a request, bounded in bytes for one request and over all of them."""

import asyncio
import zlib
from codecs import BOM_UTF8
from collections.abc import Sequence

from starlette.requests import Request

from kubernaut.api.problems import Slug
from kubernaut.ops.http.problems import RequestRejected

MAX_TOTAL_SIZE = 32 * 2**20
"""Bytes of all bodies that are being received at the same time."""

RETRY_AFTER = 2  # seconds

_GZIP = ("gzip", "x-gzip")
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_MAX_PART = 2**18


class BodyReader:
    """Reads bodies of one media type and of at most `max_size` bytes, after decompression where gzip is accepted.

    Many clients that each send most of a body and then wait could fill the memory. Beyond MAX_TOTAL_SIZE, or one body
    of the greatest size, the body that has been arriving for the longest time is given up, which is the one of a slow
    client.
    """

    def __init__(self, max_size: int, *, media_type: str, default_type: str = "", accepts_gzip: bool = False) -> None:
        self._max_size = max_size
        self._media_type = media_type
        self._max_total_size = max(MAX_TOTAL_SIZE, max_size)
        self._default_type = default_type  # of a request without a content type
        self._encodings = {"identity": False} | (dict.fromkeys(_GZIP, True) if accepts_gzip else {})
        self._decompressing = asyncio.Lock()
        self._arriving: dict[asyncio.Timeout, int] = {}  # in the order of their start, to the bytes received
        self._total = 0

    async def read(self, request: Request) -> bytes:
        """The whole body, without a byte order mark. Raises RequestRejected."""
        self._check_type(request)
        is_compressed = self._is_compressed(request)
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
        if is_compressed:
            async with self._decompressing:  # one at a time, so that many small bodies do not become large together
                parts = await asyncio.to_thread(self._decompressed, parts)
        return b"".join(parts).removeprefix(BOM_UTF8)

    def _decompressed(self, parts: Sequence[bytes]) -> list[bytes]:
        """The parts of a gzip body after decompression. Raises RequestRejected."""
        found: list[bytes] = []
        size = 0
        decompressor = zlib.decompressobj(_GZIP_WINDOW)
        try:
            for part in parts:
                rest = part
                while rest or decompressor.unused_data:
                    if decompressor.eof:  # a gzip body may have several members
                        rest = decompressor.unused_data + rest
                        decompressor = zlib.decompressobj(_GZIP_WINDOW)
                    found.append(decompressor.decompress(rest, _MAX_PART))
                    size += len(found[-1])
                    if size > self._max_size:
                        raise self._too_large()
                    rest = decompressor.unconsumed_tail
        except zlib.error as error:
            raise RequestRejected(Slug.INVALID_REQUEST, f"the body is not gzip: {error}") from error
        if not decompressor.eof:
            raise RequestRejected(Slug.INVALID_REQUEST, "the body is not gzip: it ends too early")
        return found

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
        if given.partition(";")[0].strip().lower() != self._media_type:
            detail = f"content type {given[:100]!r} is not supported; send {self._media_type}"
            raise RequestRejected(Slug.UNSUPPORTED_MEDIA_TYPE, detail)

    def _is_compressed(self, request: Request) -> bool:
        encoding = request.headers.get("content-encoding", "identity")
        try:
            return self._encodings[encoding.strip().lower()]
        except KeyError:
            accepted = " or gzip" if len(self._encodings) > 1 else ""
            detail = f"content encoding {encoding[:100]!r} is not supported; send it without encoding{accepted}"
            raise RequestRejected(Slug.UNSUPPORTED_MEDIA_TYPE, detail) from None

    def _too_large(self) -> RequestRejected:
        return RequestRejected(Slug.TOO_LARGE, f"the body exceeds the limit of {self._max_size} bytes")


class JsonBodyReader(BodyReader):
    """Reads JSON."""

    def __init__(self, max_size: int, *, default_type: str = "", accepts_gzip: bool = False) -> None:
        super().__init__(max_size, media_type="application/json", default_type=default_type, accepts_gzip=accepts_gzip)
