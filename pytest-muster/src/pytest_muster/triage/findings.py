"""What a triage says: findings, each with its cause, how sure it is, and the evidence."""

from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    UNINITIALISED = "uninitialised worker state"
    """A worker uses what only another worker's set-up made."""
    EARLY_TEARDOWN = "shared teardown while tests ran"
    NOT_READY = "not ready yet"
    POLLUTION = "pollution"
    """A test fails because of what another test of the same process left behind."""
    ORDER_DEPENDENCY = "needs an earlier test"
    """A test passes only if another one ran before it in the same process."""
    PORT_CLASH = "port clash"
    NAME_CLASH = "name clash"
    """Two tests use one name in something they share, such as a table, a key or a topic."""
    FILE_CLASH = "file clash"
    INFRASTRUCTURE_GONE = "infrastructure gone"
    ADDRESS_FAMILY = "IPv4/IPv6 mix-up"
    TIME_OUT = "time-out"
    DEFECT = "defect"
    """The tested code or the test itself is wrong, whoever runs it, whenever."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One observation that speaks for a cause, in a sentence; with when, where and who, as far as they are known."""

    text: str
    at: float | None = None
    worker: str | None = None
    test: str | None = None
    source: str | None = None
    """`file:line`, relative to the project."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    cause: Cause
    title: str
    """One sentence with the names: what happened to what, by whom."""
    confidence: float
    """0 to 1: how sure."""
    tests: tuple[str, ...]
    """The failed tests that this explains, in the order in which they failed."""
    evidence: tuple[Evidence, ...]
    remedy: str
    """What to change, in one or two sentences."""
    polluter: str | None = None
    resource: str | None = None
    reruns: int = 0
    """How many runs the search for this cause took."""


@dataclass(frozen=True, kw_only=True)
class Triage:
    run: str
    """The id of the run."""
    findings: tuple[Finding, ...]
    """The surest explanation of the most failures first."""
    unexplained: tuple[str, ...] = ()
    """Failed tests of which no cause is sure enough to be named."""
