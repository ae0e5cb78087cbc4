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
        {"if_absent": True},
        {"event_data": {"b": [1, 2.5, 1e300, -0.0, "\u2028é"], "a": {"": None}}},
        {"actor_ip": "::ffff:10.0.0.1", "is_sensitive": True, "duration_ms": 0, "error_message": "\n\t\x7f"},
    ],
)
def test_event_survives_the_queue(fields: dict[str, object]):
    entry = an_entry(**fields)

    message = messages.encode(messages.of(entry, NOW + timedelta(seconds=1)))
    read = messages.decode(message).entry()

    assert read == entry
    assert chain.canonical(read.event) == chain.canonical(entry.event)


def test_event_survives_a_clock_that_is_set_back_before_it_is_queued():
    entry = an_entry()

    message = messages.encode(messages.of(entry, NOW - timedelta(days=31)))

    assert messages.decode(message).entry() == entry


def test_message_has_the_envelope_of_the_go_project():
    message = messages.encode(messages.of(an_entry(), NOW))

    envelope = msgspec.json.decode(message)

    assert {"type", "payload", "timestamp", "retry_count", "last_error"} <= envelope.keys()
    assert (envelope["type"], envelope["retry_count"], envelope["last_error"]) == ("audit_event", 0, "")


def test_retried_message_says_why_and_how_often():
    message = messages.encode(messages.of(an_entry(), NOW))

    again = messages.decode(messages.retried(messages.decode(message), "no parent"))

    assert (again.retry_count, again.last_error) == (1, "no parent")
    assert again.entry() == messages.decode(message).entry()


def test_changed_event_is_invalid():
    message = messages.encode(messages.of(an_entry(actor_id="alice"), NOW))

    with pytest.raises(InvalidMessage, match="differs from its hash"):
        messages.decode(message.replace(b"alice", b"mallory")).entry()


@pytest.mark.parametrize("junk", [b"", b"{}", b"\xff", b"[" * 100_000, b'{"type":"notification_audit"}'])
def test_anything_else_is_invalid(junk: bytes):
    with pytest.raises(InvalidMessage):
        messages.decode(junk)


def forged(**fields: object) -> bytes:
    """A message that somebody has written into Valkey, with a hash that fits."""
    message = messages.encode(messages.of(an_entry(), NOW))
    decoded = messages.decode(message)
    payload = msgspec.structs.replace(
        decoded.payload, **{field: value for field, value in fields.items() if hasattr(decoded.payload, field)}
    )
    envelope = {field: value for field, value in fields.items() if hasattr(decoded, field)}
    content_hash = chain.content_hash(payload).hex()
    return msgspec.json.encode(msgspec.structs.replace(decoded, payload=payload, content_hash=content_hash, **envelope))


@pytest.mark.parametrize(
    "fields",
    [
        {"event_type": "datastorage.legal_hold.released"},
        {"event_type": "datastorage.retention.applied"},
        {"event_type": "datastorage.event.conflict"},
        {"event_type": ""},
        {"event_category": "nonsense"},
        {"event_outcome": "maybe"},
        {"actor_id": "x\0"},
        {"actor_id": "x" * 300},
        {"actor_ip": "::ffff:10.0.0.1"},
        {"actor_ip": "10.0.0"},
        {"correlation_id": ""},
        {"duration_ms": -1},
        {"retention_days": 99999},
        {"version": "x" * 20},
        {"event_data": msgspec.Raw(b'{"b": 1}')},
        {"event_data": msgspec.Raw(b"[]")},
        {"event_timestamp": NOW + timedelta(days=1)},
        {"late": True},
        {"received_at": NOW - timedelta(days=1)},
    ],
)
def test_message_that_no_client_may_send_is_invalid_whatever_its_hash(fields: dict[str, object]):
    with pytest.raises(InvalidMessage):
        messages.decode(forged(**fields)).entry()


def test_forged_message_would_be_valid_otherwise():
    assert messages.decode(forged()).entry().event.event_type == "signalprocessing.phase.transition"
