"""The pages over HTTP, on the running service."""

import html
import re
from urllib.parse import urlencode
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from support.datastorage import BATCH
from support.ledger_events import a_wire_event
from support.pages import HOSTILE, HOSTILE_AS_TEXT, TEXTS, a_hostile_event, assert_page

HTML = {"accept": "text/html,application/xhtml+xml"}


async def test_browser_is_sent_to_the_pages_and_a_program_is_not(http: httpx2.AsyncClient):
    to_pages = await http.get("/", headers=HTML)
    program = await http.get("/")

    assert (to_pages.status_code, to_pages.headers["location"]) == (303, "/ui/")
    assert (program.status_code, program.headers["content-type"]) == (404, "application/problem+json")


async def test_search_shows_events_newest_first_and_pages_by_cursor(http: httpx2.AsyncClient):
    times = [f"2026-11-22T20:00:{second:02}Z" for second in range(30)]
    await http.post(BATCH, json=[a_wire_event(event_timestamp=time) for time in times])

    shown: list[str] = []
    url = "/ui/?limit=25"
    while url:
        answer = await http.get(url)
        text = assert_page(answer)
        assert "30 events, newest first" in text
        shown += re.findall(r'<time datetime="([^"]+)"', answer.text)
        following = re.search(r'rel="next" href="([^"]+)"', answer.text)
        url = html.unescape(following[1]) if following else ""

    assert shown == [time.replace("Z", "+00:00") for time in reversed(times)]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"event_outcome": "maybe"}, "must be one of success, failure, pending"),
        ({"event_category": "nothing"}, "must be one of gateway, notification"),
        ({"event_type": "nobody.writes.this"}, "the types of our services begin with"),
        ({"resource_type": "Pod"}, "requires “Target name”"),
        ({"cursor": "abc"}, "the cursor is invalid"),
        ({"colour": "red"}, "colour: is no parameter"),
        ({"since": HOSTILE}, "must be a time such as"),
        ({HOSTILE: "x"}, "is no parameter"),
    ],
)
async def test_filter_that_can_match_nothing_is_explained(http: httpx2.AsyncClient, query: dict[str, str], reason: str):
    text = assert_page(await http.get(f"/ui/?{urlencode(query)}"), 400)

    assert reason in text


async def test_what_somebody_wrote_is_only_ever_text(http: httpx2.AsyncClient):
    stored = await http.post(BATCH, json=[a_hostile_event()])
    assert stored.status_code == 201, stored.text

    text = assert_page(await http.get("/ui/"))

    for name in ("correlation_id", "actor_id", "resource_name", "namespace"):
        assert HOSTILE_AS_TEXT[: TEXTS[name]] in text, name


async def test_event_is_shown_in_full_and_only_as_text(http: httpx2.AsyncClient):
    event = a_hostile_event()
    await http.post(BATCH, json=[event])

    text = assert_page(await http.get(f"/ui/events/{event['event_id']}"))

    for name, length in TEXTS.items():
        assert HOSTILE_AS_TEXT[:length] in text, name
    in_json = HOSTILE.replace('"', '\\"').replace("\x1b", "\\u001b").replace("\u202e", "\\u202e")
    assert text.count(in_json) == 2


async def test_receipt_of_a_page_is_that_of_the_api(http: httpx2.AsyncClient):
    event = a_wire_event()
    await http.post(BATCH, json=[event])

    of_api = await http.get(f"/api/v1/audit/events/{event['event_id']}/receipt")
    of_page = await http.get(f"/ui/events/{event['event_id']}/receipt")

    assert of_page.headers["content-type"] == "application/problem+json"
    assert of_page.status_code == of_api.status_code == 404
    assert of_page.json()["detail"] == of_api.json()["detail"] == "the ledger is not signed: ledger.keyFile is not set"


async def test_erased_event_says_that_it_was_erased(http: httpx2.AsyncClient):
    event = a_wire_event()
    await http.post(BATCH, json=[event])
    erasure = {"order": "GDPR-17", "event_ids": [event["event_id"]]}
    erased = await http.post("/api/v1/audit/erasures", json=erasure, headers={"X-Auth-Request-User": "alice"})
    assert erased.status_code == 200

    text = assert_page(await http.get(f"/ui/events/{event['event_id']}"))

    assert "was removed by retention or by an order to erase, as a ledger event says" in text


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        ("event_timestamp = event_timestamp + interval '1 second'", "no ledger event says why"),
        ("event_data = '3'", "3 Ledger row"),
    ],
)
async def test_row_that_somebody_edited_is_still_a_page(
    http: httpx2.AsyncClient, sql: asyncpg.Connection, edit: str, reason: str
):
    event = a_wire_event()
    await http.post(BATCH, json=[event])
    async with sql.transaction():
        await sql.execute("SET LOCAL kubernaut.allow_change = 'audit_events'")
        await sql.execute(f"UPDATE audit_events SET {edit}")  # noqa: S608 - a constant of this test

    text = assert_page(await http.get(f"/ui/events/{event['event_id']}"))

    assert reason in text


async def test_ledger_row_that_nobody_can_read_is_a_page_and_a_problem(
    http: httpx2.AsyncClient, sql: asyncpg.Connection
):
    event = a_wire_event()
    await http.post(BATCH, json=[event])
    async with sql.transaction():
        await sql.execute("SET LOCAL kubernaut.allow_change = 'audit_ledger'")
        await sql.execute("UPDATE audit_ledger SET received_at = '20000-01-01'")

    text = assert_page(await http.get(f"/ui/events/{event['event_id']}"), 500)
    receipt = await http.get(f"/api/v1/audit/events/{event['event_id']}/receipt")

    assert "was changed: its values cannot be read" in text
    assert (receipt.status_code, receipt.json()["type"]) == (500, "https://kubernaut.ai/problems/ledger-inconsistent")


async def test_unknown_event_is_a_page(http: httpx2.AsyncClient):
    assert "There is no event" in assert_page(await http.get(f"/ui/events/{uuid4()}"), 404)
    assert "There is no such page" in assert_page(await http.get("/ui/events/x"), 404)


@pytest.mark.parametrize("path", ["/ui/nothing", "/ui/static/1/nothing.css", "/ui/%2e%2e/api/v1/audit/events"])
async def test_what_is_not_there_is_a_page_too(http: httpx2.AsyncClient, path: str):
    text = assert_page(await http.get(path), 404)

    assert "Not Found" in text


async def test_page_is_only_read(http: httpx2.AsyncClient):
    text = assert_page(await http.post("/ui/", content=b"x"), 405)

    assert "Method Not Allowed" in text


async def test_style_and_icon_are_cached_for_ever(http: httpx2.AsyncClient):
    first = (await http.get("/ui/")).text
    links = set(re.findall(r'(?:href|src)="(/ui/static/[^"]+)"', first))

    assert len(links) >= 2
    for link in links:
        file = await http.get(link)
        assert (file.status_code, file.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
