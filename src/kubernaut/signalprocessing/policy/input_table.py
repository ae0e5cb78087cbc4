"""A table of inputs for one policy: the representative ones, with each value that the policy compares tried in turn.

Only what a signal can have: labels are texts, and a name or a severity is always there.
"""

import copy
import random
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from kubernaut.api.vocabulary import Label
from kubernaut.signalprocessing.policy import smoke
from kubernaut.signalprocessing.policy.candidates import Candidates
from kubernaut.signalprocessing.policy.input import encode

ABSENT = object()
"""In place of a value: the field is left out."""

Assignment = dict[tuple[str, ...], Any]
"""What differs from a representative input: value by path."""

_PER_DIMENSION: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("namespace_labels",), ("namespace", "labels")),
    (("deployment_labels",), ("workload", "labels")),
    (("deployment", "labels"), ("workload", "labels")),
    (("kubernetes", "namespace"), ("namespace",)),
    (("kubernetes", "workload"), ("workload",)),
    (("detected_labels",), ("detectedLabels",)),
    (("kubernetes", "detectedLabels"), ("detectedLabels",)),
    (("environment",), ("namespace", "labels", Label.ENVIRONMENT)),
)
_MAPS = frozenset({"labels", "untrustedLabels", "annotations"})
_DETECTED_TEXTS = frozenset({"gitOpsTool", "serviceMesh"})
_ALWAYS_PRESENT = frozenset(
    {("signal", "name"), ("signal", "severity"), ("signal", "type"), ("namespace", "name")}
    | {("workload", "kind"), ("workload", "name")}
)


def documents() -> list[dict[str, Any]]:
    """The representative inputs."""
    return [msgspec.json.decode(encode(each)) for each in smoke.representative_inputs()]


def place_of(path: Sequence[str]) -> tuple[str, ...]:
    """Where a fact stands in the document of a `policy.rego` that a per-dimension policy reads elsewhere."""
    for prefix, place in _PER_DIMENSION:
        if tuple(path[: len(prefix)]) == prefix:
            return (*place, *path[len(prefix) :])
    return tuple(path)


def assignments(candidates: Sequence[Candidates], count: int, seed: int = 0) -> Iterator[Assignment]:
    """Each value of each input alone, then `count` random combinations; the same ones for the same seed."""
    values: dict[tuple[str, ...], list[Any]] = {}
    for each in candidates:
        path = place_of(each.path)
        known = values.setdefault(path, [])
        known += [value for value in _values(path, each.values) if value not in known]
    values = {path: known for path, known in values.items() if known}
    for path, known in values.items():
        yield from ({path: value} for value in known)
    if len(values) < 2:
        return
    chance = random.Random(seed)  # noqa: S311 - a table that anybody can repeat, no secret
    for _ in range(count):
        chosen = chance.sample([*values], k=chance.randint(2, len(values)))
        yield {path: chance.choice(values[path]) for path in chosen}


def applied(document: dict[str, Any], assignment: Assignment) -> dict[str, Any]:
    """A copy of the document with these values; a path through something else than an object is left as it is."""
    changed = copy.deepcopy(document)
    for path, value in sorted(assignment.items(), key=lambda item: len(item[0])):
        part = changed
        for name in path[:-1]:
            inner = part.setdefault(name, {})
            if not isinstance(inner, dict):
                break
            part = inner
        else:
            if value is ABSENT:
                part.pop(path[-1], None)
            else:
                part[path[-1]] = value
    return changed


def _values(path: tuple[str, ...], values: Sequence[Any]) -> list[Any]:
    """The values that a signal can have there; none for what is no value of a signal."""
    texts = [*dict.fromkeys(map(_text, values))]
    if path[0] == "detectedLabels" and len(path) == 2:
        return [ABSENT, True, *texts] if path[1] in _DETECTED_TEXTS else [ABSENT, True]
    if len(path) == 2 and path[1] in _MAPS:
        return [ABSENT, *({text: text} for text in texts if text)]
    if len(path) == 3 and path[1] in _MAPS:
        return [ABSENT, "", "some-other-value", *texts]
    if path in _ALWAYS_PRESENT:
        return ["some-other-value", *texts]
    return [ABSENT, "some-other-value", *texts] if path == ("signal", "source") else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}"
