"""What the words of an event may be: those of the contract as they are written, the rest as the sender writes it.

An outcome in other case is refused, not corrected: what is hashed and shown must be what was sent.
"""

import json
from uuid import uuid4

import httpx2
import pytest

from support.datastorage import BATCH, EVENTS, JSON
from support.ledger_events import a_body, a_wire_event

OUTCOMES = "must be one of success, failure, pending"
CATEGORIES = "must be one of gateway, notification, analysis"

REFUSED = [
    *(
        ("event_outcome", value, OUTCOMES)
        for value in ("Success", "FAILURE", "maybe", "", " success", "success\n", "ok")
    ),
    ("event_outcome", "x" * 100_000, OUTCOMES),
    ("event_outcome", "x - at `$.severity`", OUTCOMES),
    ("event_outcome", "missing required field `severity`", OUTCOMES),
    ("event_outcome", None, "accepted: event_outcome, outcome"),
    ("event_outcome", 1, "Expected `str"),
    *(("event_category", value, CATEGORIES) for value in ("Gateway", "GATEWAY", "unheard-of", " gateway", "gateway ")),
    ("event_category", "", "length >= 1"),
    ("event_category", "x" * 51, "length <= 50"),
    ("event_category", None, "Expected `str`, got `null`"),
    ("severity", "x" * 21, "length <= 20"),
    ("severity", 3, "Expected `str"),
    ("actor_type", "x" * 51, "length <= 50"),
    ("actor_type", ["user"], "Expected `str"),
]
KEPT = [
    *(("severity", value, value) for value in ("critical", "CRITICAL", "Sev2", "page", " high ", "x" * 20, "高")),
    ("severity", None, "info"),
    ("severity", "", "info"),
    *(("actor_type", value, value) for value in ("service", "user", "external", "Service", "robot", " user", "x" * 50)),
    ("actor_type", None, "service"),
    ("actor_type", "", "service"),
    *(("event_outcome", value, value) for value in ("success", "failure", "pending")),
]


@pytest.mark.parametrize("is_batch", [False, True], ids=["single", "batch"])
async def test_a_word_that_is_none_of_the_contract_is_refused_with_the_field_and_what_it_may_be(http, is_batch):
    for field, value, reason in REFUSED:
        event = a_wire_event() | {field: value}
        path, content = (BATCH, a_body(a_wire_event(), event)) if is_batch else (EVENTS, json.dumps(event).encode())

        answer = await http.post(path, content=content, headers=JSON)

        case = field, str(value)[:30], answer.text[:500]
        assert answer.status_code == 400, case
        document = answer.json()
        assert document["type"] == "https://kubernaut.ai/problems/validation-error", case
        key = f"[1].{field}" if is_batch else field
        assert list(document["field_errors"]) == [key], case
        assert reason in document["field_errors"][key], case
        assert reason in document["detail"], case
        assert field in document["detail"] or is_batch, case
        assert len(answer.content) < 2000, case


async def test_a_word_that_the_sender_chooses_is_stored_as_it_is(http: httpx2.AsyncClient):
    for field, value, stored in KEPT:
        event = a_wire_event(correlation_id=str(uuid4())) | {field: value}

        answer = await http.post(EVENTS, content=json.dumps(event), headers=JSON)

        assert answer.status_code == 201, (field, value, answer.text[:500])
        (found,) = (await http.get(EVENTS, params={"correlation_id": event["correlation_id"]})).json()["data"]
        assert found[field] == stored
