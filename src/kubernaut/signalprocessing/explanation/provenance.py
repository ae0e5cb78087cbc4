"""From a path below `input` to the fact that stands there, and to where that fact came from; pure.

Policies see one fact under several paths, such as `input.signal.labels` and `input.signal.untrustedLabels`; a fact has
one path, that in the record.
"""

from typing import Any

import msgspec

from kubernaut.api.facts import DecisionFacts
from kubernaut.api.vocabulary import EnvironmentSource

FactPath = tuple[str, ...]

_CONTEXT = "kubernetesContext"
_PREFIXES: tuple[tuple[tuple[str, ...], FactPath], ...] = (
    (("signal", "untrustedLabels"), ("signal", "labels")),
    (("signal",), ("signal",)),
    (("namespace",), (_CONTEXT, "namespace")),
    (("workload", "ownerChain"), (_CONTEXT, "ownerChain")),
    (("workload",), (_CONTEXT, "workload")),
    (("detectedLabels",), (_CONTEXT, "detectedLabels")),
    (("cluster",), (_CONTEXT, "cluster")),
    (("fallbackEnvironment",), ("fallbackEnvironment",)),
    (("namespace_labels",), (_CONTEXT, "namespace", "labels")),
    (("deployment_labels",), (_CONTEXT, "workload", "labels")),
    (("deployment", "labels"), (_CONTEXT, "workload", "labels")),
    (("detected_labels",), (_CONTEXT, "detectedLabels")),
    (("kubernetes",), (_CONTEXT,)),
)
"""Paths below `input` with those of the record, the longer ones first."""

_SENDER = "the alert, as its sender says"


def fact_of(path: tuple[str, ...]) -> FactPath | None:
    """The fact behind a path below `input`; None where there is none, as for the environment that was decided."""
    for prefix, fact in _PREFIXES:
        if path[: len(prefix)] == prefix:
            return (*fact, *path[len(prefix) :])
    return None


def value_of(facts: dict[str, Any], fact: FactPath) -> Any:
    """The value, None where it is not there; `facts` are a record as plain data."""
    value: Any = facts
    for part in fact:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def shown(path: tuple[str, ...]) -> str:
    """The path as Rego spells it."""
    parts = [f".{part}" if part.isidentifier() else f"[{msgspec.json.encode(part).decode()}]" for part in path]
    return "input" + "".join(parts)


def origin_of(facts: DecisionFacts, fact: FactPath) -> str:
    """Where the fact came from, in words."""
    if fact[0] == "signal":
        return f"{_part(fact[1:])}{_SENDER}"
    if fact[0] == "fallbackEnvironment":
        is_mapped = facts.fallback_environment.source is EnvironmentSource.CONFIGMAP
        return "the environment mapping (ConfigMap)" if is_mapped else "default, as no mapping names the namespace"
    return f"{_part(fact[2:])}{_holder(facts, fact[1] if len(fact) > 1 else '')}"


def _part(rest: tuple[str, ...]) -> str:
    if not rest:
        return ""
    words = {"labels": "label", "annotations": "annotation"}
    if rest[0] in words and len(rest) > 1:
        return f"{words[rest[0]]} {rest[1]} of "
    return f"{rest[0]} of "


def _holder(facts: DecisionFacts, part: str) -> str:
    context = facts.kubernetes_context
    if part == "namespace":
        return f"Namespace/{context.namespace.name}" if context.namespace else "the namespace, of which there is none"
    if part in ("workload", "ownerChain"):
        workload = context.workload
        return f"{workload.kind}/{workload.name}" if workload else "the target, which was not found"
    if part == "detectedLabels":
        return "what was detected in the cluster"
    if part == "cluster":
        return "the cluster's registration"
    return "the facts about the target"
