"""What counts as an answer: only what DataStorage itself says about the events that were sent."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import uuid4

import msgspec
import pytest
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from kubernaut.api.problems import CONTENT_TYPE, Slug
from kubernaut.audit import AuditConfig, ClientConfig, RetryConfig, SpoolConfig, open_audit
from support.audit import an_event, number_of, open_fake_datastorage, problem_response
from support.eventually import eventually

HTML = "<html><body>Sign in</body></html>"


@asynccontextmanager
async def opened(tmp_path, **client):
    async with open_fake_datastorage() as server:
        config = AuditConfig(
            spool=SpoolConfig(directory=tmp_path / "spool"),
            client=ClientConfig(url=server.url, timeout=5, **client),
            retry=RetryConfig(initial_delay=0.01, max_delay=0.05),
            flush_interval=0.01,
        )
        async with open_audit(config, "test") as store:
            yield server, store


def ids(events):
    return [str(event.event_id) for event in events]


def foreign_problem(events):
    document = {"type": "about:blank", "title": "Bad Request", "status": 400, "index": 0}
    return Response(msgspec.json.encode(document), 400, media_type=CONTENT_TYPE)


def problem_of_another_type(events):
    document = msgspec.json.decode(problem_response(400).body)
    return JSONResponse(document, 400)


NOT_OURS = {
    "200 of a proxy": lambda events: Response(status_code=200),
    "200 with the right body": lambda events: JSONResponse({"event_ids": ids(events), "message": ""}, 200),
    "204": lambda events: Response(status_code=204),
    "201 with a page": lambda events: HTMLResponse(HTML, 201),
    "201 without a body": lambda events: Response(status_code=201),
    "201 with other ids": lambda events: JSONResponse(
        {"event_ids": [str(uuid4()) for _ in events], "message": ""}, 201
    ),
    "201 with fewer ids": lambda events: JSONResponse({"event_ids": ids(events)[1:], "message": ""}, 201),
    "201 in another order": lambda events: JSONResponse(
        {"event_ids": ids(events)[1:] + ids(events)[:1] * (len(events) > 1), "message": ""}, 201
    ),
    "202 with a page": lambda events: HTMLResponse(HTML, 202),
    "207 with a page": lambda events: HTMLResponse(HTML, 207),
    "207 with no results": lambda events: JSONResponse({"results": [], "stored": 0, "rejected": 0}, 207),
    "207 with other ids": lambda events: multi_status([(201, uuid4()) for _ in events]),
    "302": lambda events: RedirectResponse("/login", 302),
    "308": lambda events: RedirectResponse("/login", 308),
    "400 with a page": lambda events: HTMLResponse(HTML, 400),
    "400 with a foreign problem": foreign_problem,
    "400 as plain JSON": problem_of_another_type,
    "404 with a page": lambda events: HTMLResponse(HTML, 404),
    "409 with a page": lambda events: HTMLResponse(HTML, 409),
    "413 with a page": lambda events: HTMLResponse(HTML, 413),
    "422 without a body": lambda events: Response(status_code=422),
    "429 with a page": lambda events: HTMLResponse(HTML, 429),
    "503 with a page": lambda events: HTMLResponse(HTML, 503),
}


def multi_status(results):
    listed = [
        {"index": index, "status": status, "event_id": str(event_id), "detail": None if status < 300 else "why"}
        for index, (status, event_id) in enumerate(results)
    ]
    stored = sum(status == 201 for status, _ in results)
    return JSONResponse({"results": listed, "stored": stored, "rejected": len(results) - stored}, 207)


@pytest.mark.parametrize("answer", NOT_OURS.values(), ids=NOT_OURS.keys())
@pytest.mark.parametrize("count", [1, 3])
async def test_what_datastorage_did_not_say_is_an_outage(tmp_path, answer, count):
    async with opened(tmp_path) as (server, store):
        requests = []

        def respond(events, body):
            requests.append(len(events))
            return answer(events) if len(requests) <= 4 else None

        server.respond = respond
        store.record([an_event(number) for number in range(count)])

        await eventually(lambda: len(requests) >= 4)
        assert store.quarantined == 0
        flushed = await store.flush(10)
        assert (flushed.delivered, flushed.waiting, flushed.quarantined) == (count, 0, 0)
        assert server.numbers == list(range(count))


@pytest.mark.parametrize("status", [201, 202])
async def test_201_and_202_that_name_the_events_are_delivery(tmp_path, status):
    async with opened(tmp_path) as (server, store):
        server.respond = lambda events, body: JSONResponse({"event_ids": ids(events), "message": ""}, status)
        store.record([an_event(number) for number in range(3)])

        assert (await store.flush(10)).delivered == 3


async def test_a_207_is_taken_event_by_event(tmp_path):
    final = {3: 400, 4: 409, 7: 413}
    async with opened(tmp_path) as (server, store):
        requests = []

        def respond(events, body):
            numbers = [number_of(event) for event in events]
            requests.append(numbers)
            if len(requests) == 1:
                return problem_response(400)
            results = []
            for event, number in zip(events, numbers, strict=True):
                status = 503 if number == 5 and len(requests) < 5 else final.get(number, 201)
                results.append((status, event.event_id))
                if status == 201:
                    server.stored.setdefault(event.event_id, event)
            return multi_status(results)

        server.respond = respond
        store.record([an_event(number) for number in range(10)])
        flushed = await store.flush(10)
        kept = await store._spool.quarantined_events()

    assert (flushed.delivered, flushed.waiting, flushed.quarantined) == (7, 0, 3)
    assert sorted(server.numbers) == [0, 1, 2, 5, 6, 8, 9]
    assert [event.reason.split()[-2:] for event in kept] == [["400:", "why"], ["409:", "why"], ["413:", "why"]]
    assert requests[1:4] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [5, 6, 7, 8, 9]]


async def test_a_clock_that_is_wrong_delays_and_quarantines_nothing(tmp_path):
    async with opened(tmp_path) as (server, store):
        asked = []

        def respond(events, body):
            asked.append(len(events))
            return problem_response(503, Slug.UNAVAILABLE, "event is ahead of the clock") if len(asked) < 4 else None

        server.respond = respond
        store.record([an_event(number) for number in range(5)])

        flushed = await store.flush(10)
        assert (flushed.delivered, flushed.quarantined) == (5, 0)


async def test_an_event_of_a_far_future_holds_up_no_other(tmp_path):
    async with opened(tmp_path) as (server, store):
        is_accepting = False

        def respond(events, body):
            ahead = [index for index, event in enumerate(events) if event.event_timestamp.year == 9999]
            return (
                problem_response(503, Slug.UNAVAILABLE, "clock", index=ahead[0]) if ahead and not is_accepting else None
            )

        server.respond = respond
        events = [an_event(number) for number in range(20)]
        for number in (0, 7, 19):
            stamp = datetime(9999, 1, 1, tzinfo=UTC)
            events[number] = msgspec.structs.replace(events[number], event_timestamp=stamp)
        store.record(events)
        others = [number for number in range(20) if number not in (0, 7, 19)]
        await eventually(lambda: server.numbers == others)
        requests = len(server.batches)
        store.record([an_event(20)])
        await eventually(lambda: server.numbers == [*others, 20])

        flushed = await store.flush(0.2)
        assert (flushed.waiting, flushed.quarantined, store.quarantined) == (3, 0, 0)
        assert len(server.batches) - requests < 100
        is_accepting = True
        assert (await store.flush(10)).is_complete
        assert sorted(server.numbers) == list(range(21))


async def test_an_event_that_only_the_store_calls_early_keeps_its_place(tmp_path):
    async with opened(tmp_path) as (server, store):
        asked = []

        def respond(events, body):
            asked.append(len(events))
            return problem_response(503, Slug.UNAVAILABLE, "clock", index=0) if len(asked) < 5 else None

        server.respond = respond
        store.record([an_event(number) for number in range(10)])

        assert (await store.flush(10)).delivered == 10
        assert server.numbers == list(range(10))


async def test_a_store_with_a_wrong_clock_does_not_decide_when_it_is_asked_again(tmp_path):
    async with opened(tmp_path) as (server, store):
        asked = []

        def respond(events, body):
            asked.append(len(events))
            problem = problem_response(503, Slug.UNAVAILABLE, "clock", index=0)
            problem.headers["retry-after"] = "300"
            return problem if len(asked) < 3 else None

        server.respond = respond
        store.record([an_event(number) for number in range(3)])

        assert (await store.flush(10)).delivered == 3


async def test_what_comes_after_queued_events_says_so_until_events_are_stored_again(tmp_path):
    async with opened(tmp_path) as (server, store):
        said = []

        def respond(events, body):
            said.append(server.headers.get("x-audit-after-queued"))
            number = len(said)
            if number == 3:
                return problem_response(503)
            return JSONResponse({"event_ids": ids(events), "message": ""}, 202 if number < 4 else 201)

        server.respond = respond
        for number in range(5):
            store.record([an_event(number)])
            assert (await store.flush(10)).is_complete

        assert said == [None, "true", "true", "true", None, None]


@pytest.mark.parametrize("header", ["0", "-5", "0.001", "1e-9"])
async def test_a_retry_after_of_nothing_is_no_storm(tmp_path, header):
    async with opened(tmp_path) as (server, store):
        asked = []

        def respond(events, body):
            asked.append(asyncio.get_running_loop().time())
            return Response(status_code=503, headers={"retry-after": header}) if len(asked) == 1 else None

        server.respond = respond
        store.record([an_event()])

        assert (await store.flush(10)).delivered == 1
        assert asked[1] - asked[0] >= 1


async def test_a_restart_adds_nothing_to_the_quarantine(tmp_path):
    event = an_event(1)
    for _ in range(3):
        async with opened(tmp_path) as (server, store):
            server.respond = lambda events, body: problem_response(400)
            store.record([event])
            flushed = await store.flush(10)

            assert (flushed.waiting, flushed.quarantined) == (0, 1)


async def test_flush_says_why_events_wait(tmp_path):
    async with opened(tmp_path) as (server, store):
        server.respond = lambda events, body: HTMLResponse(HTML, 404)
        store.record([an_event(number) for number in range(3)])

        flushed = await store.flush(0.3)
        assert (flushed.delivered, flushed.waiting) == (0, 3)
        assert "404" in flushed.reason
        assert "text/html" in flushed.reason
        server.respond = lambda events, body: None
        assert (await store.flush(10)).reason == ""


async def test_a_token_file_is_read_again_when_it_changes(tmp_path):
    token = tmp_path / "token"
    token.write_text("first\n")
    async with opened(tmp_path, token_file=token) as (server, store):
        for text in ("first", "second"):
            replacement = tmp_path / "new"
            replacement.write_text(f"{text}\n")
            replacement.replace(token)
            store.record([an_event()])
            await store.flush(10)
            assert server.headers["authorization"] == f"Bearer {text}"


@pytest.mark.parametrize(
    "content", [None, b"", b"two\nlines", b"\xff\xfe"], ids=["missing", "empty", "lines", "binary"]
)
async def test_a_token_that_cannot_be_used_makes_events_wait(tmp_path, content):
    token = tmp_path / "token"
    if content is not None:
        token.write_bytes(content)
    async with opened(tmp_path, token_file=token) as (_, store):
        store.record([an_event()])

        flushed = await store.flush(0.2)
        assert flushed.waiting == 1
        assert "token file" in flushed.reason
        token.write_text("good")
        assert (await store.flush(10)).delivered == 1
