"""The input document's fields, and the rules that are asked for, as data."""

from typing import Any

ANY: dict[str, Any] = {}
"""In place of fields: any name may follow, such as those of labels."""

_OWNERS = {"[]": {"kind": None, "name": None, "namespace": None, "apiVersion": None}}

INPUT_FIELDS: dict[str, Any] = {
    "signal": {"name": None, "severity": None, "type": None, "source": None, "labels": ANY, "untrustedLabels": ANY},
    "namespace": {"name": None, "labels": ANY},
    "workload": {"kind": None, "name": None, "labels": ANY, "annotations": ANY, "ownerChain": _OWNERS},
    "detectedLabels": ANY,
    "cluster": {"labels": ANY},
    "fallbackEnvironment": {"environment": None, "source": None},
}
"""By name: the fields below it, None for a value, `[]` for the elements of a list."""

PER_DIMENSION_FIELDS: dict[str, Any] = INPUT_FIELDS | {
    "namespace": {"name": None, "labels": ANY, "annotations": ANY},
    "namespace_labels": ANY,
    "deployment_labels": ANY,
    "deployment": {"labels": ANY},
    "kubernetes": ANY,
    "detected_labels": ANY,
    "environment": None,
}
"""The same for per-dimension policies."""

RULE_HINTS = {
    "environment": 'default environment := {"environment": "Unknown", "source": "default"}',
    "severity": 'default severity := "unknown"',
    "priority": 'default priority := {"priority": "P2", "policy_name": "default"}',
}


def unknown_field(path: tuple[str | None, ...], fields: dict[str, Any]) -> tuple[str, list[str]] | None:
    """The first part of a path below `input` that the document never has, and the names it has there."""
    known: dict[str, Any] | None = fields
    for part in path:
        if known is ANY or known is None or part is None:
            return None
        if "[]" in known:
            known = known["[]"]
        elif part in known:
            known = known[part]
        else:
            return part, [*known]
    return None
