"""Bytes that no server of ours would send: each is an outage that ends, whatever a library makes of it."""

import asyncio
import gzip
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from kubernaut.api.problems import CONTENT_TYPE
from kubernaut.audit import AuditConfig, ClientConfig, RetryConfig, SpoolConfig, open_audit
from kubernaut.audit import client as audit_client
from support.audit import an_event
from support.eventually import eventually

Answer = Callable[[list[str]], bytes]

DEEP = b"[" * 100_000


def answer(status: int, body: bytes = b"", *, fields: str = "", media_type: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {media_type}\r\ncontent-length: {len(body)}\r\n{fields}\r\n"
    return head.encode("latin-1") + body


def created(ids: list[str]) -> bytes:
    return msgspec.json.encode({"event_ids": ids, "message": ""})


def problem(body: bytes) -> bytes:
    return answer(400, body, media_type=CONTENT_TYPE)


RAW: dict[str, Answer] = {
    "text that is no UTF-8 in a 201": lambda ids: answer(201, created(ids).replace(b'""', b'"\xff\xfe"')),
    "an id that is no UTF-8": lambda ids: answer(201, b'{"event_ids":["\xff\xfe"],"message":""}'),
    "a deep 201": lambda ids: answer(201, DEEP),
    "a deep member of a 201": lambda ids: answer(201, b'{"x":' + DEEP),
    "half a surrogate": lambda ids: answer(201, b'{"event_ids":["\\ud800"],"message":"\\ud800"}'),
    "text that is no UTF-8 in a 207": lambda ids: answer(207, b'{"results":[{"event_id":"\xff"}]}'),
    "a deep 207": lambda ids: answer(207, b'{"results":' + DEEP),
    "text that is no UTF-8 in a problem": lambda ids: problem(b'{"type":"x","title":"\xff","status":400}'),
    "a deep problem": lambda ids: problem(DEEP),
    "a deep member of a problem": lambda ids: problem(b'{"x":' + DEEP),
    "broken gzip": lambda ids: answer(201, b"\x1f\x8b\x08\x00x", fields="content-encoding: gzip\r\n"),
    "half of gzip": lambda ids: answer(201, gzip.compress(created(ids))[:-12], fields="content-encoding: gzip\r\n"),
    "a cookie that is no ASCII": lambda ids: answer(502, fields="set-cookie: \xff=\xfe\r\n"),
    "a cookie of another user": lambda ids: answer(502, fields="set-cookie: session=1; path=/\r\n"),
    "a place that is no URL": lambda ids: answer(302, fields="location: http://[::bad\r\n"),
    "a time that is none": lambda ids: answer(500, fields="retry-after: \xe9\r\n"),
    "a media type that is no ASCII": lambda ids: answer(400, b"{}", media_type="application/\xff"),
    "half of the body": lambda ids: answer(201, created(ids))[:-10],
    "informational responses": lambda ids: b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
    "another protocol": lambda ids: b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "HTTP/1.0": lambda ids: b"HTTP/1.0 200 OK\r\n\r\n",
    "HTTP/0.9": lambda ids: b"<html></html>",
    "TLS": lambda ids: b"\x15\x03\x03\x00\x02\x02\x28",
    "nothing": lambda ids: b"",
    "a field without a name": lambda ids: b"HTTP/1.1 201 Created\r\nbad header\r\n\r\n",
    "a large field": lambda ids: answer(201, fields=f"x: {'a' * 1_000_000}\r\n"),
    "two lengths": lambda ids: answer(201, created(ids), fields="content-length: 3\r\n"),
    "a chunk without a length": lambda ids: b"HTTP/1.1 201 X\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
}


class RawServer:
    """Answers three requests with given bytes, and then as DataStorage does."""

    def __init__(self, respond: Answer) -> None:
        self._respond = respond
        self.url = ""
        self.requests: list[bytes] = []
        self.stored: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head.lower())
                body = await reader.readexactly(int(length[1]) if length else 0)
                self.requests.append(head)
                ids = [event["event_id"] for event in msgspec.json.decode(body)]
                if len(self.requests) <= 3:
                    writer.write(self._respond(ids))
                    await writer.drain()
                    return
                self.stored += ids
                writer.write(answer(201, created(ids)))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def open_raw_server(respond: Answer) -> AsyncIterator[RawServer]:
    raw = RawServer(respond)
    async with await asyncio.start_server(raw.serve, "127.0.0.1", 0) as server:
        raw.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield raw


def config_for(url: str, directory: Path) -> AuditConfig:
    return AuditConfig(
        spool=SpoolConfig(directory=directory / "spool"),
        client=ClientConfig(url=url, timeout=5),
        retry=RetryConfig(initial_delay=0.01, max_delay=0.05),
        flush_interval=0.01,
    )


@pytest.mark.parametrize("respond", RAW.values(), ids=RAW.keys())
async def test_bytes_that_are_no_answer_are_an_outage(tmp_path: Path, respond: Answer):
    events = [an_event(number) for number in range(2)]
    async with open_raw_server(respond) as server, open_audit(config_for(server.url, tmp_path), "test") as store:
        store.record(events)

        await eventually(lambda: len(server.requests) > 3)
        flushed = await store.flush(10)

    assert (flushed.waiting, flushed.quarantined) == (0, 0)
    assert server.stored == [str(event.event_id) for event in events]
    assert not any(b"\r\ncookie:" in request.lower() for request in server.requests)


async def test_an_answer_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sizes: list[int] = []
    monkeypatch.setattr(audit_client, "MAX_RESULTS_BYTES", 100_000)

    def endless(ids: list[str]) -> bytes:
        sizes.append(len(ids))
        return b"HTTP/1.1 502 X\r\n\r\n" + b"x" * 2**20

    async with open_raw_server(endless) as server, open_audit(config_for(server.url, tmp_path), "test") as store:
        store.record([an_event(0)])
        await eventually(lambda: len(server.requests) == 2)
        reason = (await store.flush(0)).reason

        await eventually(lambda: store.waiting == 0)

    assert "more than 100000 bytes" in reason
