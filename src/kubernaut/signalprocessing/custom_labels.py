"""Custom labels: what a policy may pass on to whoever picks a remedy, within deterministic limits."""

from collections.abc import Mapping
from dataclasses import dataclass

from kubernaut.api.signals import KubernetesContext
from kubernaut.api.vocabulary import Label

MAX_KEYS = 10
MAX_VALUES = 5
MAX_KEY_BYTES = 63
MAX_VALUE_BYTES = 100

RESERVED_PREFIXES = ("kubernaut.ai/", "system/")
RESERVED_KEYS = frozenset({"environment", "priority", "component", "signal_type", "severity"})

_FALLBACK = {
    "team": Label.TEAM,
    "tier": Label.TIER,
    "cost-center": Label.COST_CENTER,
    "region": Label.REGION,
}


@dataclass(frozen=True)
class SanitizedLabels:
    """Labels within the limits, and one message for each that was left out or truncated."""

    labels: dict[str, list[str]]
    warnings: tuple[str, ...] = ()


def sanitize(labels: Mapping[str, object]) -> SanitizedLabels:
    """A policy's labels within the limits. Keys are taken in sorted order, so the same ones are kept every time."""
    kept: dict[str, list[str]] = {}
    warnings: list[str] = []
    for key in sorted(labels):
        if _is_reserved(key):
            warnings.append(f"reserved key {key!r} ignored")
            continue
        values = _values(labels[key])
        if not values:
            continue
        short = _truncate(key, MAX_KEY_BYTES)
        if short in kept:
            warnings.append(f"key {short!r} is a duplicate after truncation to {MAX_KEY_BYTES} bytes")
        elif len(kept) == MAX_KEYS:
            warnings.append(f"key {short!r} ignored: more than {MAX_KEYS} keys")
        else:
            if len(values) > MAX_VALUES:
                warnings.append(f"key {short!r} truncated to {MAX_VALUES} values")
            kept[short] = [_truncate(value, MAX_VALUE_BYTES) for value in values[:MAX_VALUES]]
    return SanitizedLabels(kept, tuple(warnings))


def fallback(context: KubernetesContext) -> dict[str, list[str]]:
    """The labels of namespace and workload themselves; each key from the namespace first."""
    namespace = context.namespace.labels if context.namespace else {}
    workload = context.workload.labels if context.workload else {}
    labels = {key: namespace.get(label) or workload.get(label) or "" for key, label in _FALLBACK.items()}
    return {key: [_truncate(value, MAX_VALUE_BYTES)] for key, value in labels.items() if value}


def _is_reserved(key: str) -> bool:
    lower = key.lower()
    return not key or lower in RESERVED_KEYS or lower.startswith(RESERVED_PREFIXES)


def _values(value: object) -> list[str]:
    if isinstance(value, str):
        return [value] if value else []
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _truncate(text: str, max_bytes: int) -> str:
    # A character that the limit falls into goes as a whole. No database column can hold NUL.
    return text.replace("\0", "").encode()[:max_bytes].decode(errors="ignore")
