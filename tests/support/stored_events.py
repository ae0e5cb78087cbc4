"""Events as a reader returns them, for tests of what is shown of them."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec

from kubernaut.api.events import StoredEvent

TIME = datetime(2026, 11, 22, 20, tzinfo=UTC)


def a_stored_event(**fields: object) -> StoredEvent:
    given = {
        "event_id": UUID(int=1),
        "event_timestamp": TIME,
        "event_date": "2026-11-22",
        "event_type": "gateway.signal.received",
        "version": "1.0",
        "event_category": "gateway",
        "event_action": "received",
        "event_outcome": "success",
        "correlation_id": "rr-1",
        "event_data": msgspec.Raw(b"{}"),
        "sequence": 1,
        "event_hash": "00",
        "previous_event_hash": "",
        "received_at": TIME,
        "late": False,
        "retention_days": 2555,
        "is_sensitive": False,
    }
    return StoredEvent(**{**given, **fields})
