"""Cuts the labels and annotations of an alert to the limits of `kubernaut.api.limits`, each with a mark.

The same texts are cut in the same way in each delivery, so an alert keeps its identity.
"""

import hashlib
from collections.abc import Mapping

import msgspec

from kubernaut.api import limits
from kubernaut.ops.redaction import redact

LEFT_OUT = "truncated_labels"
"""Label, or annotation, that tells how many were left out."""

_MAX_SECRET = 4096
"""Characters of the longest secret that is looked for at the place where a text is cut."""

_MAX_VALUES = {"alertname": limits.MAX_ALERT_NAME, "severity": limits.MAX_SEVERITY}


def truncate_labels(labels: dict[str, str]) -> dict[str, str]:
    """The labels within the limits; the shortest are kept when there are too many. The same object if all are."""
    if not _exceeds(labels):
        return labels
    cut = {
        _truncate(name, limits.MAX_LABEL_NAME): _truncate(value, _MAX_VALUES.get(name, limits.MAX_LABEL_VALUE))
        for name, value in labels.items()
    }
    kept: set[str] = set()
    left = limits.MAX_LABELS_SIZE
    for name in sorted(cut, key=lambda name: (name not in _MAX_VALUES, len(name) + len(cut[name]), name)):
        left -= len(msgspec.json.encode({name: cut[name]}))
        if left < 0 or len(kept) == limits.MAX_LABELS:
            break
        kept.add(name)
    texts = {name: value for name, value in cut.items() if name in kept}
    if len(texts) < len(labels):
        missing = sorted((name, value) for name, value in cut.items() if name not in kept)
        digest = hashlib.sha256(msgspec.json.encode(missing)).hexdigest()[:8]
        texts[LEFT_OUT] = f"{len(labels) - len(texts)} left out, {digest}"
    return texts


def _truncate(text: str, max_length: int) -> str:
    """Secrets are redacted before a text is cut, because half a secret does not look like one."""
    if len(text) <= max_length:
        return text
    head = redact(text[: max_length + _MAX_SECRET])
    if len(text) > max_length + _MAX_SECRET:
        head = head[: max(0, len(head) - _MAX_SECRET)]
    return head[: max_length - limits.MARK_LENGTH] + limits.mark_of(text)


def _exceeds(labels: Mapping[str, str]) -> bool:
    if len(labels) > limits.MAX_LABELS:
        return True
    size = 0
    for name, value in labels.items():
        if len(name) > limits.MAX_LABEL_NAME or len(value) > _MAX_VALUES.get(name, limits.MAX_LABEL_VALUE):
            return True
        size += len(name) + len(value)
    # A character takes up to six bytes in JSON; below that, counting is not needed.
    return size * 6 > limits.MAX_LABELS_SIZE and len(msgspec.json.encode(labels)) > limits.MAX_LABELS_SIZE
