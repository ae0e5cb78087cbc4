"""What was decided about a signal, why, and from what, as its audit events have it; pure."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from kubernaut.api.events import SignalPayload, StoredEvent
from kubernaut.api.facts import DecisionFacts
from kubernaut.api.vocabulary import EventType
from kubernaut.ops.json_faults import JSON_FAULTS
from kubernaut.ops.visible_text import visible

MAX_INPUTS = 40
"""Labels that are listed; the event has the others."""


@dataclass(frozen=True, kw_only=True)
class DecisionView:
    """The newest decision of those on the page."""

    values: tuple[tuple[str, str], ...]
    """What was decided, with its source or rule."""

    inputs: tuple[tuple[str, str], ...]
    """What the policy was given; empty where the event has no facts."""

    command: str
    """The command that names the rules and what would have changed the answer."""


def decision_view(events: Sequence[StoredEvent]) -> DecisionView | None:
    """The decision of the last classification among the events; None where there is none that can be read."""
    for event in reversed(events):
        if event.event_type == EventType.CLASSIFICATION_DECISION:
            try:
                payload = msgspec.json.decode(event.event_data, type=SignalPayload)
            except JSON_FAULTS:
                return None
            return _view(payload)
    return None


def _view(payload: SignalPayload) -> DecisionView:
    severity = payload.normalized_severity or payload.severity
    environment = payload.decided_environment or payload.environment
    priority = payload.decided_priority or payload.priority
    decided = (
        ("Environment", environment, payload.decided_environment_source or payload.environment_source),
        ("Severity", severity, payload.decided_severity_source or payload.determination_source),
        ("Priority", priority, payload.policy_name or payload.decided_priority_source or payload.priority_source),
        ("Policy", payload.policy_hash and payload.policy_hash[:12], None),
    )
    values = [(name, f"{value}, by {why}" if why else value) for name, value, why in decided if value]
    name = payload.signalprocessing_name
    return DecisionView(
        values=tuple((name, visible(value)) for name, value in values),
        inputs=_inputs(payload),
        command=visible(f"kubernaut signals explain -- {shlex.quote(name)}") if name else "",
    )


def _inputs(payload: SignalPayload) -> tuple[tuple[str, str], ...]:
    try:
        facts = msgspec.json.decode(payload.facts, type=DecisionFacts)
    except JSON_FAULTS:
        return ()
    context = facts.kubernetes_context
    found = [("alert", facts.signal.name), ("alert severity", facts.signal.severity)]
    if context.namespace:
        found.append(("namespace", context.namespace.name))
        found += [(f"namespace label {key}", value) for key, value in sorted(context.namespace.labels.items())]
    if context.workload:
        found.append(("workload", f"{context.workload.kind}/{context.workload.name}"))
        found += [(f"workload label {key}", value) for key, value in sorted(context.workload.labels.items())]
    return tuple((visible(name), visible(value)) for name, value in found[:MAX_INPUTS])
