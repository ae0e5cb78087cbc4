"""Decisions as the audit log recorded them, and the facts that each was made from."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from kubernaut.api.facts import DecisionFacts
from kubernaut.api.vocabulary import EventType
from kubernaut.signalprocessing import facts
from kubernaut.signalprocessing.policy.input import PolicyInput


class InvalidRecord(ValueError):
    """A file that holds no audit events; says which line is wrong."""


class RecordedDecision(msgspec.Struct, kw_only=True, frozen=True):
    """One decision of the past."""

    signal: str
    """`namespace/name` of the SignalProcessing object, or the correlation id where the event does not say."""
    correlation_id: str
    decided_at: str
    policy_hash: str
    environment: str
    severity: str
    priority: str
    policy_name: str
    facts: DecisionFacts | None
    """None for an event that was recorded before facts were."""

    @property
    def alert(self) -> str:
        return self.facts.signal.name if self.facts else ""

    @property
    def policy_input(self) -> PolicyInput | None:
        """What the policy of then was given."""
        return facts.policy_input(self.facts) if self.facts else None

    @property
    def outcome(self) -> dict[str, Any]:
        """The parts of the decision that the event keeps, as another policy's outcome has them."""
        return {"environment": self.environment, "severity": self.severity, "priority": self.priority}


class _Data(msgspec.Struct):
    signal: str = ""
    signalprocessing_name: str | None = None
    signalprocessing_namespace: str | None = None
    decided_environment: str | None = None
    environment: str | None = None
    normalized_severity: str | None = None
    decided_priority: str | None = None
    policy_name: str | None = None
    policy_hash: str | None = None
    facts: msgspec.Raw = msgspec.Raw()


class _Event(msgspec.Struct):
    event_type: str
    correlation_id: str = ""
    event_timestamp: str = ""
    event_data: msgspec.Raw = msgspec.Raw()


class _Line(msgspec.Struct):
    """A line of an export, of a page, or an event."""

    event: str | None = None
    data: list[_Event] = []
    event_type: str = ""
    correlation_id: str = ""
    event_timestamp: str = ""
    event_data: msgspec.Raw = msgspec.Raw()


_decode_data = msgspec.json.Decoder(_Data).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_events = msgspec.json.Decoder(list[_Event]).decode
_decode_line = msgspec.json.Decoder(_Line).decode


def decision_of(event_type: str, correlation_id: str, decided_at: str, data: bytes) -> RecordedDecision | None:
    """The decision of an event; None for an event of another type. Raises msgspec.DecodeError."""
    if event_type != EventType.CLASSIFICATION_DECISION:
        return None
    content = _decode_data(data)
    name = "/".join(part for part in (content.signalprocessing_namespace, content.signalprocessing_name) if part)
    environment = content.decided_environment or content.environment or "unknown"
    return RecordedDecision(
        signal=name or correlation_id,
        correlation_id=correlation_id,
        decided_at=decided_at,
        policy_hash=content.policy_hash or "",
        environment=environment.capitalize(),
        severity=content.normalized_severity or "unknown",
        priority=content.decided_priority or "",
        policy_name=content.policy_name or "",
        facts=facts.read(content.facts) if bytes(content.facts) not in (b"", b"null") else None,
    )


def read_file(path: Path) -> Iterator[RecordedDecision]:
    """The decisions of a file: an export, a page or a list of `kubernaut audit query`, or one event a line.

    Raises InvalidRecord, naming the line.
    """
    with path.open("rb") as file:
        first = file.read(1)
        file.seek(0)
        if first == b"[":
            yield from _decisions(_decode_whole(path, file.read()))
            return
        for number, line in enumerate(file, 1):
            if line.strip():
                yield from _decisions(_events_of(path, number, line))


def _decode_whole(path: Path, content: bytes) -> list[_Event]:
    try:
        return _decode_events(content)
    except msgspec.DecodeError as error:
        raise InvalidRecord(f"{path}: no list of audit events: {error}") from error


def _events_of(path: Path, number: int, text: bytes) -> Sequence[_Event | _Line]:
    try:
        line = _decode_line(text)
        if line.event is not None:
            return [_decode_event(line.event)]
        return line.data or [line]
    except msgspec.DecodeError as error:
        raise InvalidRecord(f"{path}:{number}: no audit event: {error}") from error


def _decisions(events: Sequence[_Event | _Line]) -> Iterator[RecordedDecision]:
    for event in events:
        if not bytes(event.event_data):
            continue
        try:
            found = decision_of(event.event_type, event.correlation_id, event.event_timestamp, bytes(event.event_data))
        except msgspec.DecodeError as error:
            raise InvalidRecord(f"event of {event.correlation_id}: {error}") from error
        if found:
            yield found
