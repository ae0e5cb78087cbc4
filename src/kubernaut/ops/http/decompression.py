"""Decompression of bodies by the standard library, bounded in bytes. Pure."""

import zlib
from collections.abc import Sequence

CODINGS = ("gzip", "x-gzip", "deflate")
"""The values of Content-Encoding that can be read."""

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_ZLIB_HEADERS = tuple(bytes((0x78, level)) for level in (0x01, 0x5E, 0x9C, 0xDA))
_MAX_PART = 2**18


class CorruptBody(ValueError):
    """The body does not decompress; the text says why."""


class TooLarge(ValueError):
    """The body is larger than it may be after decompression."""


def coding_of(head: bytes, given: str) -> str:
    """How a body that begins with `head` is compressed, gzip or deflate; empty where it is not.

    What it begins with counts more than `given`, its Content-Encoding: proxies unpack bodies and leave the header, or
    lose the header of a packed one.
    """
    if head.startswith(_GZIP_MAGIC):
        return "gzip"
    if not given or (_is_text(head) and not head.startswith(_ZLIB_HEADERS)):
        return ""
    return "deflate" if given == "deflate" else "gzip"


def decompressed(parts: Sequence[bytes], coding: str, max_size: int) -> list[bytes]:
    """The parts of a body after decompression. Raises CorruptBody and TooLarge."""
    found: list[bytes] = []
    size = 0
    window = _GZIP_WINDOW if coding == "gzip" else _deflate_window(parts)
    decompressor = zlib.decompressobj(window)
    try:
        for part in parts:
            rest = part
            while rest or decompressor.unused_data:
                if decompressor.eof:  # a body may have several members
                    rest = decompressor.unused_data + rest
                    decompressor = zlib.decompressobj(window)
                found.append(decompressor.decompress(rest, _MAX_PART))
                size += len(found[-1])
                if size > max_size:
                    raise TooLarge
                rest = decompressor.unconsumed_tail
    except zlib.error as error:
        raise CorruptBody(f"the body is not {coding}: {error}") from error
    if not decompressor.eof:
        raise CorruptBody(f"the body is not {coding}: it ends too early")
    return found


def _deflate_window(parts: Sequence[bytes]) -> int:
    """Some senders leave out the header of zlib, which the name asks for."""
    head = next((part[:2] for part in parts if part), b"")
    return zlib.MAX_WBITS if head.startswith(_ZLIB_HEADERS) else -zlib.MAX_WBITS


def _is_text(head: bytes) -> bool:
    """Whether it may be the beginning of JSON in some encoding."""
    return not head or head[:1] in b'{["\t\r\n \xef\xfe\xff\x00'
