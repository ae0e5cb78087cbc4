"""Events for tests of DataStorage: as a client writes them, and as intake hands them on."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from kubernaut.datastorage import intake
from kubernaut.datastorage.chain import Entry

NOW = datetime(2026, 11, 22, 20, 0, 0, 123456, tzinfo=UTC)


def a_wire_event(**fields: Any) -> dict[str, Any]:
    """One event as JSON has it; None removes a field."""
    event = {
        "version": "1.0",
        "event_id": str(uuid4()),
        "event_type": "signalprocessing.phase.transition",
        "event_timestamp": "2026-11-22T20:00:00.000001Z",
        "event_category": "signalprocessing",
        "event_action": "phase_transition",
        "event_outcome": "success",
        "correlation_id": "rr-1",
        "event_data": {"event_type": "signalprocessing.phase.transition", "phase": "Enriching", "signal": "HighCPU"},
    } | fields
    return {key: value for key, value in event.items() if value is not None}


def a_body(*events: dict[str, Any]) -> bytes:
    return json.dumps(list(events or (a_wire_event(),))).encode()


def an_entry(**fields: Any) -> Entry:
    """One admitted event."""
    return intake.admit(a_body(a_wire_event(**fields)), NOW, 1)[0]
