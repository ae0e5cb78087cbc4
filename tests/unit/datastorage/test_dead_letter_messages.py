"""An event is the same to the byte before and after the queue."""

from datetime import timedelta

import msgspec
import pytest

from kubernaut.datastorage import chain
from kubernaut.datastorage.dead_letter import messages
from kubernaut.datastorage.dead_letter.messages import InvalidMessage
from support.ledger_events import NOW, an_entry


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"event_timestamp": "1970-01-01T00:00:00Z"},
        {"event_data": {"b": [1, 2.5, 1e300, -0.0, "\u2028é"], "a": {"": None}}},
        {"actor_ip": "::ffff:10.0.0.1", "is_sensitive": True, "duration_ms": 0, "error_message": "\n\t\x7f"},
    ],
)
def test_event_survives_the_queue(fields: dict[str, object]):
    entry = an_entry(**fields)

    (message,) = messages.encode([entry], NOW + timedelta(seconds=1))
    read = messages.decode(message).entry()

    assert read == entry
    assert chain.canonical(read.event) == chain.canonical(entry.event)


def test_message_has_the_envelope_of_the_go_project():
    (message,) = messages.encode([an_entry()], NOW)

    envelope = msgspec.json.decode(message)

    assert {"type", "payload", "timestamp", "retry_count", "last_error"} <= envelope.keys()
    assert (envelope["type"], envelope["retry_count"], envelope["last_error"]) == ("audit_event", 0, "")


def test_retried_message_says_why_and_how_often():
    (message,) = messages.encode([an_entry()], NOW)

    again = messages.decode(messages.retried(messages.decode(message), "no parent"))

    assert (again.retry_count, again.last_error) == (1, "no parent")
    assert again.entry() == messages.decode(message).entry()


def test_changed_event_is_invalid():
    (message,) = messages.encode([an_entry(actor_id="alice")], NOW)

    with pytest.raises(InvalidMessage, match="differs from its hash"):
        messages.decode(message.replace(b"alice", b"mallory")).entry()


@pytest.mark.parametrize("junk", [b"", b"{}", b"\xff", b"[" * 100_000, b'{"type":"notification_audit"}'])
def test_anything_else_is_invalid(junk: bytes):
    with pytest.raises(InvalidMessage):
        messages.decode(junk)
