"""What looks like a secret never reaches status, logs, Kubernetes Events or the audit trail."""

import re
from collections.abc import Mapping

REDACTED = "[REDACTED]"
MAX_ANNOTATION_CHARS = 2048
"""Longer annotations hold somebody's data, not facts about the object, and are left out."""

DROPPED_ANNOTATIONS = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "control-plane.alpha.kubernetes.io/leader",
        "objectset.rio.cattle.io/applied",
        "banzaicloud.com/last-applied",
    }
)
"""Annotations that repeat whole objects, secrets included."""

_SECRET_NAME = re.compile(
    r"passw(or)?d|passwd|\bpwd\b|api[-_.]?key|token|bearer|secret|private[-_.]?key|access[-_.]?key|credential"
    r"|connection[-_.]?string|database[-_.]?url",
    re.IGNORECASE,
)
_HARMLESS = frozenset({"", "true", "false", "yes", "no", "enabled", "disabled", "0", "1"})

_SECRET_TEXT = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|(?<=://)[^\s/:@]+:[^\s/@]+(?=@)",
    re.DOTALL,
)
_ASSIGNED = re.compile(
    r"(?P<name>\b[\w.-]*(?:passw(?:or)?d|passwd|pwd|api[-_.]?key|token|secret|private[-_.]?key|access[-_.]?key"
    r"|connection[-_.]?string|database[-_.]?url)\b[\"']?\s*[:=]\s*[\"']?)(?P<value>[^\s\"',;&]+)"
    r"|(?P<scheme>\b(?:bearer|basic)\s+)(?P<credentials>[\w.~+/=-]{8,})",
    re.IGNORECASE,
)


def redact(value: str) -> str:
    """The text with everything replaced that looks like a secret; names stay."""
    value = _SECRET_TEXT.sub(REDACTED, value)
    return _ASSIGNED.sub(lambda found: (found["name"] or found["scheme"]) + REDACTED, value)


def redact_labels(values: Mapping[str, str]) -> dict[str, str]:
    """Labels as they may be stored."""
    return {key: _value(key, value) for key, value in values.items()}


def redact_annotations(values: Mapping[str, str]) -> dict[str, str]:
    """Annotations as they may be stored."""
    return {
        key: _value(key, value)
        for key, value in values.items()
        if key not in DROPPED_ANNOTATIONS and len(value) <= MAX_ANNOTATION_CHARS
    }


def _value(key: str, value: str) -> str:
    if value.lower() in _HARMLESS or key.startswith("kubernaut.ai/"):
        return value
    return REDACTED if _SECRET_NAME.search(key) else redact(value)
