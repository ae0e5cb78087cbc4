"""Whatever is not served is answered with a problem document, whoever rejects it."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubernaut.api.problems import CONTENT_TYPE, PREFIX, Slug
from kubernaut.ops.http import body
from kubernaut.ops.http.body import BodyReader, JsonBodyReader
from kubernaut.ops.http.problems import RequestRejected, application, json_response

JSON = {"content-type": "application/json"}
LIMIT = 1000


async def echo_size(request: Request) -> Response:
    return json_response({"size": len(await READER.read(request))})


async def broken(_: Request) -> Response:
    raise LookupError("db-1.internal")


async def busy(_: Request) -> Response:
    raise RequestRejected(Slug.UNAVAILABLE, "later", {"field": "reason"}, title="Busy", retry_after=7)


READER = JsonBodyReader(LIMIT)
ROUTES = [Route("/size", echo_size, methods=["POST"]), Route("/broken", broken), Route("/busy", busy)]


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=application(ROUTES, hint="look at /size"), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as opened:
        yield opened


def problem_in(response: httpx2.Response, slug: Slug) -> dict[str, object]:
    assert response.headers["content-type"] == CONTENT_TYPE
    document = response.json()
    assert (document["type"], document["status"]) == (PREFIX + slug, slug.status)
    assert response.status_code == slug.status
    assert document["instance"] == response.request.url.path
    return document


async def test_a_wrong_path_says_where_to_look(client):
    document = problem_in(await client.get("/nothing"), Slug.NOT_FOUND)

    assert document["detail"] == "GET /nothing is not served here; look at /size"


async def test_a_wrong_method_says_which_are_allowed(client):
    response = await client.get("/size")

    assert "allowed: POST" in problem_in(response, Slug.METHOD_NOT_ALLOWED)["detail"]
    assert response.headers["allow"] == "POST"


async def test_an_unexpected_error_does_not_reach_the_client(client):
    response = await client.get("/broken")

    assert problem_in(response, Slug.INTERNAL)["retry"] is True
    assert "db-1" not in response.text


async def test_a_rejected_request_has_title_field_errors_and_retry_after(client):
    response = await client.get("/busy")

    document = problem_in(response, Slug.UNAVAILABLE)
    assert (document["title"], document["detail"], document["field_errors"]) == ("Busy", "later", {"field": "reason"})
    assert response.headers["retry-after"] == "7"


@pytest.mark.parametrize(
    "headers",
    [{}, {"content-type": "text/plain"}, {**JSON, "content-encoding": "gzip"}],
    ids=["no type", "other type", "encoded"],
)
async def test_a_body_that_is_not_plain_json_is_rejected(client, headers):
    problem_in(await client.post("/size", content=b"{}", headers=headers), Slug.UNSUPPORTED_MEDIA_TYPE)


async def test_a_body_at_the_limit_is_read(client):
    response = await client.post("/size", content=b" " * LIMIT, headers=JSON)

    assert response.json() == {"size": LIMIT}


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_above_the_limit_is_rejected(client, chunked):
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(LIMIT + 1):
            yield b" "

    response = await client.post("/size", content=chunks() if chunked else b" " * (LIMIT + 1), headers=JSON)

    problem_in(response, Slug.TOO_LARGE)


async def read(content: bytes, *, part_size: int = 100, encoding: str = "gzip", max_size: int = LIMIT) -> bytes:
    parts = [content[start : start + part_size] for start in range(0, len(content), part_size)]

    async def receive() -> dict[str, object]:
        body = parts.pop(0) if parts else b""
        return {"type": "http.request", "body": body, "more_body": bool(parts)}

    headers = [(b"content-type", b"application/json"), (b"content-encoding", encoding.encode())]
    reader = BodyReader(max_size, accepts_compressed=True)
    return await reader.read(Request({"type": "http", "headers": headers}, receive))


@pytest.mark.parametrize("part_size", [1, 7, 1000])
@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", " GZIP "])
async def test_a_gzip_body_is_decompressed_where_it_is_accepted(part_size, encoding):
    text = bytes(range(100)) * 5
    members = gzip.compress(text[:300]) + gzip.compress(b"") + gzip.compress(text[300:])

    assert await read(members, part_size=part_size, encoding=encoding, max_size=500) == text


@pytest.mark.parametrize("size", [LIMIT + 1, 2**26])
async def test_a_gzip_body_is_bounded_by_its_size_after_decompression(size):
    bomb = gzip.compress(b" " * size)

    with pytest.raises(RequestRejected, match="exceeds") as rejected:
        await read(bomb, part_size=2**16, max_size=max(LIMIT, size // 2))
    assert rejected.value.slug is Slug.TOO_LARGE


@pytest.mark.parametrize(
    "content",
    [b"xyz", gzip.compress(b"{}")[:-1], gzip.compress(b"{}") + b"{}"],
    ids=["other", "cut", "with a rest"],  # a gzip header holds the time, which differs between workers
)
async def test_a_body_that_is_not_gzip_is_rejected(content):
    with pytest.raises(RequestRejected, match="not gzip") as rejected:
        await read(content)
    assert rejected.value.slug is Slug.INVALID_REQUEST


async def test_another_encoding_is_rejected_with_those_that_are_accepted():
    with pytest.raises(RequestRejected, match="without encoding, or as gzip or x-gzip or deflate"):
        await read(b"{}", encoding="br")


async def test_the_body_that_arrives_slowest_is_given_up_when_all_together_are_too_large(monkeypatch):
    monkeypatch.setattr(body, "MAX_TOTAL_SIZE", 1000)
    reader = JsonBodyReader(LIMIT)
    stalled = asyncio.Event()

    async def part_then_nothing() -> dict[str, object]:
        if stalled.is_set():
            await asyncio.Event().wait()
        stalled.set()
        return {"type": "http.request", "body": b"a" * 600, "more_body": True}

    async def whole() -> dict[str, object]:
        return {"type": "http.request", "body": b"b" * 600, "more_body": False}

    scope = {"type": "http", "headers": [(b"content-type", b"application/json")]}
    slow = asyncio.create_task(reader.read(Request(scope, part_then_nothing)))
    await stalled.wait()
    received = await reader.read(Request(scope, whole))

    assert received == b"b" * 600
    with pytest.raises(RequestRejected, match="slowest") as rejected:
        await slow
    assert rejected.value.slug is Slug.UNAVAILABLE
