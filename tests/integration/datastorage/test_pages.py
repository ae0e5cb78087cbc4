"""The pages over HTTP, on the running service."""

import html
import re
from collections.abc import Awaitable, Callable
from urllib.parse import urlencode, urlsplit
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pytest

from support.datastorage import BATCH, EVENTS, VERIFY
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


async def test_page_says_why_there_is_no_receipt_without_an_error_of_the_browser(http: httpx2.AsyncClient):
    event = a_wire_event()
    await http.post(BATCH, json=[event])

    of_api = await http.get(f"/api/v1/audit/events/{event['event_id']}/receipt")
    of_page = await http.get(f"/ui/events/{event['event_id']}/receipt")

    assert (of_api.status_code, of_page.status_code) == (404, 200)
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


async def test_timeline_is_complete_in_pieces_in_causal_order(http: httpx2.AsyncClient):
    events = [
        a_wire_event(correlation_id="a/../b", event_timestamp=f"2026-11-22T20:00:00.{number:06}Z")
        for number in range(250)
    ]
    received = a_wire_event(
        correlation_id="a/../b",
        event_type="gateway.signal.received",
        event_category="gateway",
        event_timestamp="2026-11-22T20:01:00Z",
    )
    for each in (events, [received]):
        assert (await http.post(BATCH, json=each)).status_code == 201

    shown: list[str] = []
    url = f"/ui/timeline?{urlencode({'correlation_id': 'a/../b'})}"
    while url:
        answer = await http.get(url)
        text = assert_page(answer)
        piece = re.findall(r'class="main"><a href="/ui/events/([^"]+)"', answer.text)
        assert f"{len(piece)} of 251 events, in causal order" in text
        assert len(re.findall(r'<a class="row" href="/ui/events/', answer.text)) == len(piece)
        shown += piece
        following = re.search(r'rel="next" href="([^"]+)"', answer.text)
        url = html.unescape(following[1]) if following else ""

    assert shown == [received["event_id"], *(event["event_id"] for event in events)]


async def test_timeline_of_hostile_events_is_only_text(http: httpx2.AsyncClient):
    event = a_hostile_event()
    await http.post(BATCH, json=[event, a_hostile_event(event_data={"to_phase": HOSTILE}, duration_ms=2**31 - 1)])

    query = urlencode({"correlation_id": event["correlation_id"], "verify": "1"})
    text = assert_page(await http.get(f"/ui/timeline?{query}"))

    assert HOSTILE_AS_TEXT in text
    assert "2 of 2 events verified in the ledger" in text


async def test_decision_of_hostile_text_is_only_text(http: httpx2.AsyncClient):
    data = {
        "event_type": "signalprocessing.classification.decision",
        "phase": "Classifying",
        "signal": HOSTILE,
        "priority": "P1",
        "policy_name": HOSTILE,
        "signalprocessing_name": HOSTILE,
    }
    event = a_hostile_event(event_type="signalprocessing.classification.decision", event_data=data)
    await http.post(BATCH, json=[event])

    answer = await http.get(f"/ui/timeline?{urlencode({'correlation_id': event['correlation_id']})}")

    text = assert_page(answer)
    assert "kubernaut signals explain" in text
    assert f"P1, by {HOSTILE_AS_TEXT}" in text


async def test_verification_on_a_timeline_names_the_edited_row(http: httpx2.AsyncClient, sql: asyncpg.Connection):
    await http.post(BATCH, json=[a_wire_event(), a_wire_event()])
    async with sql.transaction():
        await sql.execute("SET LOCAL kubernaut.allow_change = 'audit_events'")
        await sql.execute("UPDATE audit_events SET actor_id = 'mallory'")

    text = assert_page(await http.get("/ui/timeline?correlation_id=rr-1&verify=1"))

    assert "0 of 2 events verified in the ledger" in text
    assert text.count("the event was changed after it was stored") == 2


async def test_correlation_whose_content_is_gone_says_so(http: httpx2.AsyncClient):
    await http.post(BATCH, json=[a_wire_event(correlation_id="rr-9")])
    erasure = {"order": "GDPR-17", "correlation_id": "rr-9"}
    await http.post("/api/v1/audit/erasures", json=erasure, headers={"X-Auth-Request-User": "alice"})

    text = assert_page(await http.get("/ui/timeline?correlation_id=rr-9"))

    assert "The content of 1 of them was removed, as the ledger says." in text


@pytest.mark.parametrize(
    ("query", "status", "reason"),
    [
        ({"correlation_id": "none"}, 404, "No event has the correlation none."),
        ({"correlation_id": HOSTILE}, 404, HOSTILE_AS_TEXT),
        ({}, 400, "correlation_id"),
        ({"correlation_id": "rr-1", "after": "99"}, 400, "no event of this correlation has the sequence 99"),
        ({"correlation_id": "rr-1", "after": "x"}, 400, "must be a whole number"),
        ({"correlation_id": "rr-1", "order": "x"}, 400, "must be one of causal, ledger"),
        ({"correlation_id": "x" * 256}, 400, "must have at most 255 characters"),
        ({"correlation_id": "a\0"}, 400, "no NUL"),
    ],
)
async def test_timeline_that_is_not_there_is_a_page(
    http: httpx2.AsyncClient, query: dict[str, str], status: int, reason: str
):
    await http.post(BATCH, json=[a_wire_event()])

    assert reason in assert_page(await http.get(f"/ui/timeline?{urlencode(query)}"), status)


async def test_unknown_event_is_a_page(http: httpx2.AsyncClient):
    assert "There is no event" in assert_page(await http.get(f"/ui/events/{uuid4()}"), 404)
    assert "There is no such page" in assert_page(await http.get("/ui/events/x"), 404)


@pytest.mark.parametrize("path", ["/ui/nothing", "/ui/static/1/nothing.css", "/ui/%2e%2e/api/v1/audit/events"])
async def test_what_is_not_there_is_a_page_too(http: httpx2.AsyncClient, path: str):
    text = assert_page(await http.get(path), 404)

    assert "Not Found" in text


async def test_ledger_page_says_that_nothing_is_signed_and_what_was_verified(http: httpx2.AsyncClient):
    empty = assert_page(await http.get("/ui/ledger"))
    await http.post(BATCH, json=[a_wire_event(), a_wire_event()])
    before = assert_page(await http.get("/ui/ledger"))
    await http.post(VERIFY, json={})
    after = assert_page(await http.get("/ui/ledger"))

    assert "There is no ledger yet." in empty
    assert "Not signed: ledger.keyFile is not set." in before
    assert "This process has verified no whole ledger since it was started; kubernaut audit verify does." in before
    assert "2 of 2 events verified in the ledger" in after


READING = ("/ui/", "/ui/timeline?correlation_id=rr-1", f"/ui/events/{UUID(int=1)}", "/ui/ledger", "/ui/holds", EVENTS)


@pytest.mark.parametrize("path", READING)
async def test_while_postgresql_takes_no_connections_each_page_says_why(
    http: httpx2.AsyncClient, database: str, sql_of: Callable[[str], Awaitable[asyncpg.Connection]], path: str
):
    name = urlsplit(database).path.lstrip("/")
    admin = await sql_of(database.replace(f"/{name}", "/postgres"))
    await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)

    answer = await http.get(path)

    if path == EVENTS:
        assert (answer.status_code, answer.json()["reason"]) == (503, "database_unreachable")
        return
    text = assert_page(answer, 503)
    assert re.search(r"The audit log cannot be read at the moment \(database_\w+\)\.", text), text
    assert answer.headers["retry-after"] == "5"


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
