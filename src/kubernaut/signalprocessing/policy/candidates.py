"""With which values a policy compares each part of its input: the values that can change its answer."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from kubernaut.signalprocessing.policy.syntax import Rule, Syntax, nodes, references

MAX_VALUES = 60
"""Values that are kept for one part of the input."""


class Candidates(msgspec.Struct, kw_only=True, frozen=True):
    """A part of the input that the policy reads, and the values that stand beside it."""

    path: list[str]
    values: list[Any]


def candidates_of(modules: Sequence[Syntax]) -> list[Candidates]:
    """For each constant path below `input`, the constants of the rules that read it, in order of appearance."""
    found: dict[tuple[str, ...], dict[Any, None]] = {}
    for module in modules:
        by_name: dict[str, list[Rule]] = {}
        for rule in module.rules:
            by_name.setdefault(rule.name, []).append(rule)
        for rule in module.rules:
            values = [*_constants(rule, by_name)]
            for path, _ in references(rule.tree):
                constant = tuple(part for part in path if part is not None)
                if path[0] != "input" or len(path) < 2 or len(constant) < len(path):
                    continue
                found.setdefault(constant[1:], {}).update(dict.fromkeys(_other_than(values, constant)))
    return [Candidates(path=[*path], values=[*values][:MAX_VALUES]) for path, values in found.items()]


def _other_than(values: list[Any], path: Sequence[str]) -> list[Any]:
    """The values without those that are names of the path itself."""
    return [value for value in values if value not in path]


def _constants(rule: Rule, by_name: dict[str, list[Rule]]) -> Iterator[Any]:
    """Constants of the rule itself, then of the tables and rules that it reads."""
    seen = {rule.name}
    yield from _constants_in([body["query"] for body in rule.tree.get("bodies", [])])
    yield from _constants_in(rule.tree.get("head"))
    for path, _ in references(rule.tree):
        name = path[0] or ""
        if name in by_name and name not in seen:
            seen.add(name)
            for other in by_name[name]:
                yield from _constants_in(other.tree.get("head"))
                yield from _constants_in([body["query"] for body in other.tree.get("bodies", [])])


def _constants_in(tree: Any) -> Iterator[Any]:
    for kind, node in nodes(tree):
        if kind in ("String", "RawString"):
            yield node["value"]
        elif kind == "Number":
            number = node["value"]
            if isinstance(number, (int, float)):
                yield from (number, number + 1, number - 1)
