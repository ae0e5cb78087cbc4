"""Legal holds and erasures over HTTP."""

import httpx2
import pytest

from support.datastorage import BATCH, EVENTS, VERIFY
from support.ledger_events import a_wire_event

HOLDS = "/api/v1/audit/legal-hold"
ERASURES = "/api/v1/audit/erasures"
ALICE = {"X-Auth-Request-User": "alice@example.com"}


async def test_hold_is_placed_listed_and_released(http: httpx2.AsyncClient):
    await http.post(BATCH, json=[a_wire_event(correlation_id="rr-1/a")])

    placed = await http.post(HOLDS, json={"correlation_id": "rr-1/a", "reason": "lawsuit 7"}, headers=ALICE)

    assert placed.status_code == 200
    assert placed.json() | {"placed_at": ""} == {
        "correlation_id": "rr-1/a",
        "events_affected": 1,
        "placed_by": "alice@example.com",
        "placed_at": "",
        "reason": "lawsuit 7",
    }
    listed = (await http.get(HOLDS)).json()
    assert listed == {"holds": [placed.json() | {"events_affected": 2}], "total": 1}
    erased = await http.post(ERASURES, json={"order": "GDPR-17", "correlation_id": "rr-1/a"}, headers=ALICE)
    assert (erased.status_code, erased.json()["type"]) == (409, "https://kubernaut.ai/problems/conflict")
    released = await http.request("DELETE", f"{HOLDS}/rr-1%2Fa", json={"release_reason": "settled"}, headers=ALICE)
    assert (released.status_code, released.json()["released_by"]) == (200, "alice@example.com")
    assert (await http.get(HOLDS)).json() == {"holds": [], "total": 0}
    assert (await http.post(VERIFY, json={})).json()["is_valid"]


async def test_erasure_is_shown_by_verification(http: httpx2.AsyncClient):
    event = a_wire_event()
    await http.post(BATCH, json=[event])

    erased = await http.post(ERASURES, json={"order": "GDPR-17", "event_ids": [event["event_id"]]}, headers=ALICE)

    assert (erased.status_code, erased.json()["events_erased"]) == (200, 1)
    verification = (await http.post(VERIFY, json={"correlation_id": "rr-1"})).json()
    assert verification["is_valid"]
    assert [removed["order"] for removed in verification["removed"]] == ["GDPR-17"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", HOLDS, {"reason": "x"}, 400),
        ("POST", HOLDS, {"correlation_id": "rr-1", "reason": ""}, 400),
        ("POST", HOLDS, {"correlation_id": "rr-1", "reason": " "}, 400),
        ("POST", HOLDS, {"correlation_id": "rr-1\0", "reason": "x"}, 400),
        ("POST", HOLDS, {"correlation_id": "rr-9", "reason": "x"}, 404),
        ("DELETE", f"{HOLDS}/rr-9", {"release_reason": "x"}, 404),
        ("DELETE", f"{HOLDS}/rr-9", {}, 400),
        ("DELETE", f"{HOLDS}/%00", {"release_reason": "x"}, 400),
        ("POST", ERASURES, {"order": "1"}, 400),
        ("POST", ERASURES, {"order": "1", "event_ids": ["x"]}, 400),
        ("POST", ERASURES, {"order": "1", "correlation_id": "rr-1", "event_id": "x"}, 400),
        ("POST", ERASURES, {"order": "1", "correlation_id": "rr-9"}, 404),
    ],
)
async def test_what_cannot_be_done_is_a_problem(
    http: httpx2.AsyncClient, method: str, path: str, body: dict[str, str], status: int
):
    response = await http.request(method, path, json=body, headers=ALICE)

    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("method", "path"), [("POST", HOLDS), ("DELETE", f"{HOLDS}/rr-1"), ("POST", ERASURES)])
async def test_who_asks_must_be_known(http: httpx2.AsyncClient, method: str, path: str):
    assert (await http.request(method, path, json={})).status_code == 401


async def test_nobody_else_writes_the_records_of_removals(http: httpx2.AsyncClient):
    response = await http.post(EVENTS, json=a_wire_event(event_type="datastorage.retention.applied"))

    assert response.status_code == 400
    assert "only DataStorage itself" in response.json()["detail"]
