"""Cuts the labels and annotations of an alert to the limits of `kubernaut.api.limits`, each with a mark.

The same texts are cut in the same way in each delivery, so an alert keeps its identity.
"""

import hashlib
from collections.abc import Mapping

import msgspec

from kubernaut.api import limits

LEFT_OUT = "truncated_labels"
"""Label, or annotation, that tells how many were left out."""

_MAX_VALUES = {"alertname": limits.MAX_ALERT_NAME, "severity": limits.MAX_SEVERITY}


def truncate_labels(labels: dict[str, str]) -> dict[str, str]:
    """The labels within the limits; the shortest are kept when there are too many. The same object if all are."""
    if not _exceeds(labels):
        return labels
    cut = {
        limits.truncate(name, limits.MAX_LABEL_NAME): limits.truncate(
            value, _MAX_VALUES.get(name, limits.MAX_LABEL_VALUE)
        )
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
