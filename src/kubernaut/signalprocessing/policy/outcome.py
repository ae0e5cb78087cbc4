"""A decision as plain data, for commands that print, compare or count decisions."""

from collections.abc import Mapping
from typing import Any

import msgspec

from kubernaut.signalprocessing.policy.decision import Decision

COMPARED = ("environment", "severity", "priority", "labels", "cluster", "business")
"""The parts of a decision that two policies may disagree on."""


def outcome(decided: Decision) -> dict[str, Any]:
    """What was decided, by whom, and what failed."""
    return {
        "environment": decided.environment.value,
        "environmentSource": decided.environment_source,
        "severity": decided.severity.value,
        "severitySource": decided.severity_source,
        "priority": decided.priority.value,
        "prioritySource": decided.priority_source,
        "policyName": decided.policy_name,
        "labels": decided.custom_labels,
        "cluster": decided.cluster,
        "business": msgspec.to_builtins(decided.business) if decided.business else None,
        "failures": [{"rule": each.rule, "message": each.message} for each in decided.failures],
        "warnings": [*decided.warnings],
        "policyHash": decided.policy_hash,
    }


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The parts on which two outcomes disagree, with both values."""
    return {part: (before[part], after[part]) for part in COMPARED if before[part] != after[part]}


def text_of(value: Any) -> str:
    """One part of an outcome in a cell of a table."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={text_of(each)}" for key, each in value.items() if each not in (None, "", []))
    if isinstance(value, list):
        return "+".join(map(text_of, value))
    return "" if value is None else str(value)
