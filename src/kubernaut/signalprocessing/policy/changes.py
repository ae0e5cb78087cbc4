"""What became of a policy's files: a version that was accepted, rejected, or put back."""

import difflib
from dataclasses import dataclass
from enum import StrEnum

from kubernaut.api.policies import MAX_DIFF_CHARS
from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy.sources import Sources
from kubernaut.signalprocessing.policy.text import ELLIPSIS

MAX_COMPARED_LINES = 3000
"""Lines of a file that is compared line by line; of a longer one only the number of lines is told."""


class ChangeReason(StrEnum):
    """Why a version came into force, or was to."""

    START = "start"
    CHANGED = "changed"
    RESTORED = "restored"
    """The files hold the version in force again, after others were rejected."""
    LAST_KNOWN_GOOD = "last-known-good"
    """The files at the start were rejected."""


@dataclass(frozen=True, kw_only=True)
class PolicyChange:
    """A version that was accepted, or rejected with an error."""

    reason: ChangeReason
    sources: Sources | None
    """None where the files could not be read."""

    before: Sources | None
    """The version that was in force; of a rejected one, that which stays in force."""

    error: PolicyError | None = None

    @property
    def hash(self) -> str:
        return self.sources.hash if self.sources else ""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How one version differs from another."""

    summary: str
    """Such as `policy.rego +3 -1`."""

    diff: str
    """The lines that differ, at most 8,000 characters."""


def difference(before: Sources | None, after: Sources | None) -> Difference:
    """How the lines of two versions differ; may take a tenth of a second for a large policy."""
    if before is None or after is None:
        return Difference(summary="", diff="")
    old, new = dict(before.files), dict(after.files)
    summaries: list[str] = []
    lines: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        one, other = old.get(name, "").splitlines(), new.get(name, "").splitlines()
        if one == other:
            continue
        if max(len(one), len(other)) > MAX_COMPARED_LINES:
            summaries.append(f"{name} {len(one)} -> {len(other)} lines")
            continue
        changed = list(difflib.unified_diff(one, other, name, name, lineterm="", n=1))
        added = sum(line.startswith("+") for line in changed[2:])
        removed = sum(line.startswith("-") for line in changed[2:])
        summaries.append(f"{name} +{added} -{removed}")
        lines += changed
    text = "\n".join(lines)
    cut = text if len(text) <= MAX_DIFF_CHARS else text[: MAX_DIFF_CHARS - 1] + ELLIPSIS
    return Difference(summary=", ".join(summaries), diff=cut)
