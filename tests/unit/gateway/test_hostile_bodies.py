"""Bodies that are made to take long: each is decoded in time that grows with its length, and ends."""

import pytest

from kubernaut.gateway import json_fields
from kubernaut.gateway.alertmanager import InvalidWebhook
from kubernaut.gateway.decoder import MAX_DOCUMENTS, MAX_WRAPPED, decode_all

SIZE = json_fields.MAX_REPAIRED - 100


def filled(before: str, part: str, after: str = "", *, size: int = SIZE) -> bytes:
    return (before + part * ((size - len(before + after)) // len(part)) + after).encode()


def listed(part: str, count: int) -> str:
    return f"[{','.join([part] * count)}]"


BODIES = {
    "a string without an end, full of quotes": filled('{"alerts": ["', '\\"'),
    "a string without an end, full of backslashes": filled('{"alerts": ["', "\\"),
    "quotes": filled("", '"'),
    "strings that need a repair": filled('{"alerts": [', '"\\d",', "1]"),
    "commas too many": filled('{"alerts": [', ",]", "]}"),
    "a comma and blanks": filled('{"alerts": [,', " ", "x"),
    "commas and blanks": filled('{"alerts": [', "," + " " * 1000, "x"),
    "signs": filled('{"alerts": [', "-"),
    "halves of surrogate pairs": filled('{"a": "', "\\ud800", '"}'),
    "NUL": filled("", "\0"),
    "open lists": filled("", "["),
    "open objects": filled("", '{"data":'),
    "empty objects": filled("[", "{},", "{}]", size=2**25),
    "lines": filled("", "{}\n", size=2**25),
    "lists in lists": listed(listed("[]", 1000), 10_000).encode(),
    "envelopes in envelopes": ('{"data":' + listed('{"data":' + listed("{}", 1000) + "}", 1000) + "}").encode(),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_is_made_to_take_long_is_rejected(body: bytes):
    with pytest.raises(InvalidWebhook):
        decode_all(body)


def test_a_body_is_repaired_up_to_a_size():
    start = '{"alerts": [{"labels": {"alertname": "A", "path": "'
    end = '"}},]}'

    assert decode_all(filled(start, "x", end))[0].alerts[0].name == "A"
    with pytest.raises(InvalidWebhook):
        decode_all(filled(start, "x", end, size=json_fields.MAX_REPAIRED + 1))


def test_alerts_of_a_large_list_are_read_and_further_envelopes_are_not():
    alert = '{"labels": {"alertname": "A"}}'
    wrapped = '{"data": {"alerts": [' + alert + "]}}"

    (webhook,) = decode_all(listed(alert, 10_000).encode())
    assert len(webhook.alerts) == 10_000
    webhooks = decode_all(listed(wrapped, MAX_WRAPPED + 1).encode())
    assert sum(len(each.alerts) for each in webhooks) == MAX_WRAPPED + 1
    with pytest.raises(InvalidWebhook):
        decode_all(listed(alert, MAX_DOCUMENTS + 1).encode())
