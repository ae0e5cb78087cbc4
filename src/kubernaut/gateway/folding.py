"""Which alerts become one signal. Pure.

Alerts fold when they are about the same workload of the same cluster and have the same name. An alert that names no
object of its own, only a namespace, folds with those of the same scrape job. With `foldBy: workload` the name does not
matter, as in the Go project, except where there is no workload.
"""

import hashlib
from enum import StrEnum

import msgspec

from kubernaut.api.signals import Target
from kubernaut.gateway.alertmanager import Alert


class FoldBy(StrEnum):
    """What alerts about one workload must have in common to be one signal."""

    ALERT = "alert"
    WORKLOAD = "workload"


def fold_key(alert: Alert, owner: Target, cluster: str, fold_by: FoldBy) -> str:
    """The same for alerts that fold; a valid value of a Kubernetes label."""
    group = owner.api_version.rpartition("/")[0]
    parts = [cluster, group, owner.kind, owner.namespace, owner.name]
    has_workload = (group, owner.kind) != ("", "Namespace")
    if fold_by is FoldBy.ALERT or not has_workload:
        parts.append(alert.name)
    if not has_workload:
        parts.append(alert.labels.get("job", ""))
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:40]


_RANKS = {
    3: {
        "critical",
        "crit",
        "fatal",
        "emergency",
        "emerg",
        "alert",
        "panic",
        "disaster",
        "blocker",
        "page",
        "p0",
        "p1",
        "sev0",
        "sev1",
        "down",
        "highest",
        "severity0",
        "severity1",
        "priority0",
        "priority1",
        "1critical",
        "p1critical",
        "s1",
        "catastrophic",
    },
    2: {
        "high",
        "error",
        "err",
        "major",
        "severe",
        "serious",
        "urgent",
        "p2",
        "s2",
        "sev2",
        "severity2",
        "priority2",
        "2high",
        "p2high",
    },
    1: {
        "warning",
        "warn",
        "medium",
        "moderate",
        "average",
        "minor",
        "ticket",
        "p3",
        "sev3",
        "severity3",
        "priority3",
        "3medium",
        "3moderate",
        "p3medium",
        "p3moderate",
        "s3",
    },
}
RANK_OF = {word: rank for rank, words in _RANKS.items() for word in words}
"""The rank of every severity that is known."""


def severity_rank(severity: str) -> int:
    """Orders severities as senders spell them; a word that is not known is no more severe than any other.

    It only tells whether an alert has become worse. What a severity means is for the policy to say.
    """
    return RANK_OF.get("".join(sign for sign in severity.lower() if sign.isalnum()), 0)
