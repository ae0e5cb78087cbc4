"""What an explanation says, as `kubernaut signals explain -o json` prints it."""

from typing import Any

from kubernaut.api.meta import Time, Wire


class FailedStatement(Wire, frozen=True):
    """The first statement of a body that did not hold."""

    line: int
    text: str


class DefinitionResult(Wire, frozen=True):
    """What one definition of a rule said."""

    file: str
    line: int
    text: str
    decided: bool = False
    value: Any = None
    """Its value, also where another definition came first; absent where it has none."""

    failed: FailedStatement | None = None
    error: str = ""
    is_default: bool = False


class Answer(Wire, frozen=True):
    """One answer of the decision."""

    name: str
    """environment, severity, priority, labels, cluster or business."""

    value: Any
    source: str
    """The source as the status has it, such as `namespace-labels`, `rego-policy` or `fallback-severity`."""

    rule: DefinitionResult | None = None
    """The definition that gave it; absent where the policy gave none, and a fallback did."""

    others: list[DefinitionResult] = []
    error: str = ""
    """Why the policy's rule failed, where it did."""


class Input(Wire, frozen=True):
    """One input that was read, with its value."""

    path: str
    value: Any
    """Absent where it was read and not there."""

    origin: str
    answers: list[str]
    """Which answers it went into."""


class Change(Wire, frozen=True):
    """A change of one input, and what would have been answered then."""

    fact: list[str]
    """Path of the fact in the record, `event_data.facts`."""

    value: Any
    """The other value; absent where the input would have to be removed, `(any other value)` for each that the policy
    does not know."""

    description: str
    answers: dict[str, Any]
    """The answers that would be others."""


class Explanation(Wire, frozen=True):
    """Why one signal was decided as it was."""

    signal: str
    namespace: str
    correlation_id: str
    policy_hash: str
    answers: list[Answer]
    inputs: list[Input]
    changes: list[Change] = []
    """Single changes that would give another priority, the smallest first."""

    tried: int = 0
    """Changes that were tried."""

    decided_at: Time | None = None
    differs: list[str] = []
    """Where deciding again gives another answer than the record has."""

    notes: list[str] = []
