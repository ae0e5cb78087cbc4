"""Decisions as they were recorded: in the audit log, in an export of it, or in an object of the cluster."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from kubernaut.api.events import ABSENT, SignalPayload
from kubernaut.api.facts import DecisionFacts
from kubernaut.api.ledger.exports import ExportedEvent
from kubernaut.api.meta import Time
from kubernaut.api.policies import PolicyPayload
from kubernaut.api.signals import SignalProcessing
from kubernaut.api.vocabulary import EventType
from kubernaut.signalprocessing import facts as recorded_facts
from kubernaut.signalprocessing.policy import sources
from kubernaut.signalprocessing.policy.sources import Sources


@dataclass(frozen=True, kw_only=True)
class RecordedDecision:
    """A decision, and what it was made from."""

    name: str
    namespace: str
    correlation_id: str
    policy_hash: str
    decided_at: datetime | None
    answers: dict[str, str]
    facts: DecisionFacts | None
    """None for a decision of an earlier version, which recorded no facts."""

    place: str
    """Where the record was found."""


@dataclass(kw_only=True)
class Export:
    """The decisions and the policies of an export."""

    decisions: list[RecordedDecision] = field(default_factory=list)
    policies: list[PolicyPayload] = field(default_factory=list)


class _Event(msgspec.Struct):
    event_type: str
    correlation_id: str
    event_timestamp: Time
    event_data: msgspec.Raw


class InvalidRecord(ValueError):
    """A file that is no export."""


def of_event(
    event_data: bytes | msgspec.Raw, correlation_id: str, decided_at: datetime, place: str
) -> RecordedDecision:
    """The decision of a `signalprocessing.classification.decision`. Raises msgspec.DecodeError."""
    payload = msgspec.json.decode(event_data, type=SignalPayload)
    answers = {
        "environment": payload.decided_environment or payload.environment,
        "severity": payload.normalized_severity or payload.severity,
        "priority": payload.decided_priority or payload.priority,
    }
    return RecordedDecision(
        name=payload.signalprocessing_name or "",
        namespace=payload.signalprocessing_namespace or "",
        correlation_id=correlation_id,
        policy_hash=payload.policy_hash or "",
        decided_at=decided_at,
        answers={name: answer for name, answer in answers.items() if answer},
        facts=recorded_facts.read(payload.facts) if payload.facts != ABSENT else None,
        place=place,
    )


def of_signal(signal: SignalProcessing) -> RecordedDecision | None:
    """The decision that an object holds; None for one that is not decided."""
    status = signal.status
    environment, priority = status.environment_classification, status.priority_assignment
    classification = status.signal_classification
    if environment is None or priority is None or classification is None:
        return None
    answers = {
        "environment": environment.environment,
        "severity": classification.severity,
        "priority": priority.priority,
    }
    return RecordedDecision(
        name=signal.metadata.name,
        namespace=signal.metadata.namespace,
        correlation_id=signal.spec.remediation_request_ref.name,
        policy_hash=classification.policy_hash,
        decided_at=environment.classified_at,
        answers={name: str(answer) for name, answer in answers.items() if answer},
        facts=recorded_facts.facts_of(signal),
        place="the object in the cluster",
    )


def read_export(path: Path) -> Export:
    """All decisions and policies of a file that `kubernaut audit export` wrote. Raises InvalidRecord and OSError.

    Proofs are not checked here; `kubernaut audit verify FILE --key VKEY` does that.
    """
    export = Export()
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                content: dict[str, Any] = msgspec.json.decode(line)
                if "event" not in content:
                    continue
                text = msgspec.convert(content, ExportedEvent, strict=False).event or "{}"
                event = msgspec.json.decode(text, type=_Event)
                _add(export, event, f"{path}, line {number}")
            except (msgspec.MsgspecError, TypeError, RecursionError) as error:
                raise InvalidRecord(f"{path}: line {number}: not a line of an export: {error}") from error
    return export


def policy_of(payloads: Iterable[PolicyPayload], policy_hash: str) -> Sources | None:
    """The policy with that hash from its recorded parts; None where some are missing or the hash differs."""
    parts: dict[int, PolicyPayload] = {}
    for payload in payloads:
        if payload.policy_hash == policy_hash and payload.files:
            parts.setdefault(payload.part, payload)
    if not parts or len(parts) < next(iter(parts.values())).parts:
        return None
    files: dict[str, str] = {}
    for _, payload in sorted(parts.items()):
        for file in payload.files:
            files[file.name] = files.get(file.name, "") + file.text
    try:
        found = sources.from_files(files, next(iter(parts.values())).form)
    except ValueError:
        return None
    return found if found.hash == policy_hash else None


def _add(export: Export, event: _Event, place: str) -> None:
    if event.event_type == EventType.CLASSIFICATION_DECISION:
        found = of_event(event.event_data, event.correlation_id, event.event_timestamp, place)
        export.decisions.append(found)
    elif event.event_type in (EventType.POLICY_LOADED, EventType.POLICY_REJECTED):
        export.policies.append(msgspec.json.decode(event.event_data, type=PolicyPayload))
