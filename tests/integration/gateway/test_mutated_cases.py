"""What real senders send, with one value of it replaced by an odd one: no error, and the other alerts are stored."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubernaut.gateway.alertmanager import InvalidWebhook
from kubernaut.gateway.decoder import decode_all

from .conftest import WEBHOOK

pytestmark = pytest.mark.kubernetes

CASES = sorted((Path(__file__).parents[2] / "cases/webhook").glob("*.json"))
ODD: list[Any] = [
    *(None, "", " ", 0, -1, 1.5, 10**400, True, [], {}, [None], [{}], {"a": {"b": 1}}, "x" * 70_000, "\ud800", "\0"),
    *(
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999999+14:00",
        "-1",
        "resolved",
        "firing",
        "🔥",
        "a/b",
        "..",
        "%00",
    ),
]
HEADERS = {"content-type": "application/json"}


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the values of a document are, itself left out."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*path, key)
            yield from paths_of(inner, (*path, key))


def replaced(document: Any, path: tuple[Any, ...], odd: Any) -> Any:
    copy = json.loads(json.dumps(document))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = odd
    return copy


def parsed_cases() -> list[Any]:
    found = []
    for path in CASES:
        try:
            found.append(json.loads(path.read_bytes().decode("utf-8-sig"), strict=False))
        except ValueError:
            continue
    return found


DOCUMENTS = parsed_cases()
PLACES = [(document, path) for document in DOCUMENTS for path in paths_of(document)]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(place=st.sampled_from(PLACES), odd=st.sampled_from(ODD))
async def test_a_case_with_an_odd_value_gets_an_answer_and_its_other_alerts_are_stored(gateway, place, odd):
    document, path = place
    body = json.dumps(replaced(document, path, odd)).encode()

    answer = await gateway.http.post(WEBHOOK, content=body, headers=HEADERS)

    try:
        alerts = [alert for webhook in decode_all(body) for alert in webhook.alerts]
    except InvalidWebhook:
        assert answer.status_code == 400, answer.text
        assert "alerts" in path[-1:] or not isinstance(document, dict) or "alerts" not in document
        return
    assert answer.status_code in (200, 201, 202, 207), answer.text
    results = answer.json().get("results") or [answer.json()] * len(alerts)
    assert len(results) == len(alerts)
    assert "failed" not in [result["status"] for result in results]
    if len(path) > 1 and path[0] == "alerts" and isinstance(document, dict):
        before = decode_all(json.dumps(document).encode())[0].alerts
        others = [alert for number, alert in enumerate(alerts) if number != path[1]]
        assert len(before) == len(alerts)
        assert others == [alert for number, alert in enumerate(before) if number != path[1]]
