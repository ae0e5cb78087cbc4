"""Bodies of senders that cannot set their headers: of any media type, encoding and compression.

A sender does not repeat what was answered with a 4xx, so a body is what it can be decoded as, whatever its headers say.
"""

import codecs
import json
from email.message import Message

from starlette.requests import Request

from kubernaut.ops.http.body import BodyReader

MAX_CONTENT_TYPE = 1000  # characters that are looked at

_CHARSETS = {
    codecs.lookup(name).name
    for name in (
        *("us-ascii", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"),
        *(f"iso-8859-{number}" for number in (*range(1, 12), *range(13, 17))),
        *(f"windows-{number}" for number in range(1250, 1259)),
        *("koi8-r", "koi8-u", "gbk", "gb2312", "gb18030", "big5", "shift_jis", "euc-jp", "iso-2022-jp", "euc-kr"),
    )
}
"""Those of the web; other codecs of Python are no charsets, or take time."""


class AlertBodyReader(BodyReader):
    """Reads JSON of any media type, and gives it in UTF-8."""

    def __init__(self, max_size: int) -> None:
        super().__init__(max_size, accepts_compressed=True)

    async def read(self, request: Request) -> bytes:
        return as_utf8(await super().read(request), request.headers.get("content-type", ""))


def as_utf8(body: bytes, content_type: str = "") -> bytes:
    """The body of a JSON document in UTF-8.

    UTF-16 and UTF-32 show by their first bytes, and what is UTF-8 is read as such. For the rest the charset of the
    content type counts; without one, the body stays as it is.
    """
    detected = json.detect_encoding(body)
    if not detected.startswith("utf-8"):
        return body.decode(detected, errors="replace").encode()
    if body.isascii():
        return body
    try:
        body.decode()
    except UnicodeDecodeError:
        if charset := _charset(content_type):
            return body.decode(charset, errors="replace").encode()
    return body


def _charset(content_type: str) -> str:
    """The codec that a content type names; empty where it names none that is known."""
    header = Message()
    header["content-type"] = " ".join(content_type[:MAX_CONTENT_TYPE].split())
    try:
        name = codecs.lookup(str(header.get_param("charset", ""))).name
    except (LookupError, ValueError):
        return ""
    return name if name in _CHARSETS else ""
