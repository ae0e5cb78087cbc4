"""A notification arrives whatever its sender can say about it: media type, charset, compression, version of HTTP."""

import asyncio
import gzip
import json
import zlib
from urllib.parse import urlsplit

import pytest

from support.alerts import a_webhook, an_alert

pytestmark = pytest.mark.kubernetes

WEBHOOK = "/api/v1/signals/prometheus"
NAME = "Übertragung"
TEXT = json.dumps(a_webhook(an_alert(NAME), an_alert("Watchdog")), ensure_ascii=False)
UTF8 = TEXT.encode()


def raw_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


def with_type(content_type: str | None) -> dict[str, str]:
    return {} if content_type is None else {"content-type": content_type}


READ = [
    *(
        (with_type(each), UTF8)
        for each in (
            "application/json",
            "APPLICATION/JSON; Charset=UTF-8",
            'application/json;charset="utf-8"',
            "text/json",
            "application/vnd.alertmanager.v4+json",
            "application/problem+json; charset=utf-8",
            "text/plain; charset=utf-8",
            "application/octet-stream",
            "application/x-www-form-urlencoded",
            "application/json; charset=iso-8859-1",  # it is UTF-8 all the same
            "application/json; charset=no-such-charset",
            "application/json; charset=zlib_codec",
            "",
            "nonsense",
            None,
        )
    ),
    *((with_type("application/json"), TEXT.encode(each)) for each in ("utf-8-sig", "utf-16", "utf-16-le", "utf-32-be")),
    (with_type("text/plain; charset=UTF-16"), TEXT.encode("utf-16-be")),
    (with_type("text/plain; charset=ISO-8859-1"), TEXT.encode("latin-1")),
    (with_type("application/json; charset=windows-1252"), TEXT.encode("cp1252")),
    (with_type("application/json"), UTF8 + b"\n"),
    (with_type("application/x-ndjson"), b"\r\n" + UTF8 + b"\r\n\r\n"),
    ({"content-encoding": "gzip"}, gzip.compress(UTF8)),
    ({"content-encoding": "GZIP"}, gzip.compress(UTF8)),
    ({"content-encoding": "x-gzip"}, gzip.compress(UTF8[:99]) + gzip.compress(UTF8[99:])),
    ({"content-encoding": "gzip, identity"}, gzip.compress(UTF8)),
    ({"content-encoding": "deflate"}, zlib.compress(UTF8)),
    ({"content-encoding": "deflate"}, raw_deflate(UTF8)),
    ({"content-encoding": "identity"}, UTF8),
    ({"content-encoding": ""}, UTF8),
    ({"content-encoding": "gzip"}, UTF8),  # a proxy has unpacked it
    ({"content-encoding": "deflate"}, UTF8),
    ({}, gzip.compress(UTF8)),  # a proxy has lost the header
    ({"content-encoding": "gzip"}, gzip.compress(TEXT.encode("utf-16"))),
]
REJECTED = [
    ({"content-encoding": "br"}, UTF8, 415),
    ({"content-encoding": "zstd"}, b"\x28\xb5\x2f\xfd", 415),
    ({"content-encoding": "gzip, gzip"}, gzip.compress(gzip.compress(UTF8)), 415),
    ({"content-encoding": "gzip"}, gzip.compress(UTF8)[:-9], 400),
    ({"content-encoding": "deflate"}, b"\x78\x9c" + b"x" * 99, 400),
    (with_type("application/x-www-form-urlencoded"), b"alerts=1", 400),
    (with_type("text/plain"), b"disk is full", 400),
    (with_type("application/json"), b"", 400),
]


def names_of(answer) -> list[str]:
    return [result["signalName"] for result in answer.json().get("results", [])]


async def test_what_can_be_decoded_is_decoded_whatever_the_headers_say(gateway):
    answers = [await gateway.http.post(WEBHOOK, content=body, headers=headers) for headers, body in READ]

    unread = [
        (headers, body[:20], answer.status_code, answer.text[:200])
        for (headers, body), answer in zip(READ, answers, strict=True)
        if answer.status_code != 207 or names_of(answer) != [NAME, "Watchdog"]
    ]
    assert unread == []


async def test_what_cannot_be_decoded_is_answered_with_the_reason(gateway):
    answers = [await gateway.http.post(WEBHOOK, content=body, headers=headers) for headers, body, _ in REJECTED]

    assert [answer.status_code for answer in answers] == [status for *_, status in REJECTED]
    assert all(answer.headers["content-type"] == "application/problem+json" for answer in answers)
    assert "gzip" in answers[0].json()["detail"]


HEAD = f"POST {WEBHOOK} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
LENGTH = f"Content-Length: {len(UTF8)}\r\n"
CHUNKED = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (UTF8[:7], UTF8[7:]))


@pytest.mark.parametrize(
    ("request_", "interim"),
    [
        ((HEAD + LENGTH + "\r\n").encode() + UTF8, b""),
        ((HEAD + "Transfer-Encoding: chunked\r\n\r\n").encode() + CHUNKED + b"0\r\n\r\n", b""),
        ((HEAD + "Transfer-Encoding: chunked\r\n\r\n").encode() + CHUNKED + b"0\r\nX-Checksum: 1\r\n\r\n", b""),
        ((HEAD + LENGTH + "Expect: 100-continue\r\n\r\n").encode() + UTF8, b"HTTP/1.1 100 Continue\r\n\r\n"),
        (f"POST {WEBHOOK} HTTP/1.0\r\n{LENGTH}\r\n".encode() + UTF8, b""),
        (f"POST {WEBHOOK} HTTP/1.0\r\nCONTENT-TYPE: Text/Json\r\n{LENGTH}\r\n".encode() + UTF8, b""),
    ],
    ids=["length", "chunked", "trailers", "expect", "1.0", "1.0 with a type"],
)
async def test_every_framing_of_http_is_read(gateway, request_, interim):
    address = urlsplit(str(gateway.http.base_url))
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(request_)
        answer = await reader.read()
    finally:
        writer.close()

    assert answer.startswith(interim)
    status = answer.removeprefix(interim).split(b"\r\n", 1)[0]
    assert status.split(b" ")[1] == b"207"
    assert answer.count(b"signalName") == 2
