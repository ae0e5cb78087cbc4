"""What the audit log keeps of policies: every version that was accepted or rejected, with its text.

A text is kept under the hash that decisions name, in as many events as it needs, so that any decision can be explained
from the ledger alone.
"""

import msgspec

from kubernaut.api.events import AuditWire
from kubernaut.api.vocabulary import EventType

CORRELATION_PREFIX = "policy-"
MAX_PART_CHARS = 24_000
"""Characters of policy text in one event; each may take six bytes as JSON."""

MAX_DIFF_CHARS = 8_000


class PolicyFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a policy, or a piece of one; pieces of one name follow each other."""

    name: str
    text: str


class PolicyPayload(AuditWire, frozen=True):
    """`event_data` of `signalprocessing.policy.loaded` and `signalprocessing.policy.rejected`."""

    event_type: EventType
    policy_hash: str
    """Empty where the files could not be read."""

    form: str = ""
    """`unified` or `per-dimension`."""

    reason: str = ""
    """`start`, `changed`, `restored`, or `last-known-good` where the files at the start were rejected."""

    previous_policy_hash: str | None = None
    """The version that was in force before; of a rejected one, the version that stays in force."""

    change: str = ""
    """How many lines differ, such as `policy.rego +3 -1`."""

    diff: str = ""
    """The lines that differ from the version before, at most 8,000 characters."""

    error: str | None = None
    """Why it was rejected, with file, line and column."""

    changed_by: str = ""
    """Who changed the files: `unknown`, because a mounted file does not say who wrote it. The audit log of the API
    server has who edited its ConfigMap. Empty in events of earlier versions."""

    replica: str = ""
    files: list[PolicyFile] = []
    part: int = 1
    parts: int = 1
    """The text is in that many events, this is one of them."""


def correlation_of(policy_hash: str) -> str:
    """The correlation id of all events about a version of a policy."""
    return f"{CORRELATION_PREFIX}{policy_hash or 'unreadable'}"
