"""Patterns with objects: `some {"kind": kind} in x`, `{"kind": kind} := x`, `f({"kind": kind})`.

In OPA an object of a pattern has exactly these keys, in the engine at least these. `found = {"kind": kind}` is no
pattern but an assignment, when nothing else gives `found` a value.
"""

from collections.abc import Iterator
from typing import Any

from kubernaut.signalprocessing.policy.syntax import nodes, path_of

Node = dict[str, Any]


def object_patterns(tree: Node, aliases: frozenset[str]) -> Iterator[Node]:
    """Each object of a pattern; `aliases` are the names of imports."""
    shared = {"input", "data", *aliases, *rule_names(tree)}
    for rule in tree["rules"]:
        bindings = [(id(node), _names(patterns)) for kind, node in nodes(rule) if (patterns := _patterns(kind, node))]
        for kind, node in nodes(rule):
            for pattern in _patterns(kind, node):
                if kind != "AssignExpr" or _takes_apart(node, pattern, shared, bindings):
                    yield from _objects(pattern, is_ground=kind != "AssignExpr")


def rule_names(tree: Node) -> frozenset[str]:
    """The first names of a module's rules and functions."""
    return frozenset(_name(spec) for rule in tree["rules"] for spec in rule.values())


def _patterns(kind: str, node: Node) -> list[Node]:
    """The expressions whose variables may get a value here."""
    if kind == "AssignExpr":
        return [node["lhs"]] if node["op"] == "ColEq" else [node["lhs"], node["rhs"]]
    if kind == "SomeIn":
        return [each for each in (node["key"], node["value"]) if each]
    if kind == "Func":
        return list(node["args"])
    if kind == "RefBrack":
        return [node["index"]]
    return node["params"][-1:] if kind == "Call" and _name_of_call(node) == "walk" else []


def _takes_apart(node: Node, pattern: Node, shared: set[str], bindings: list[tuple[int, set[str]]]) -> bool:
    """Whether the other side of the assignment is more than a new variable."""
    other = node["rhs"] if pattern is node["lhs"] else node["lhs"]
    if "Var" not in other or node["op"] == "ColEq":
        return True
    name = other["Var"]["value"]
    return name in shared or any(name in names for owner, names in bindings if owner != id(node))


def _objects(pattern: Node, *, is_ground: bool) -> Iterator[Node]:
    """The objects of a pattern; those without variables only where `is_ground`."""
    ((kind, node),) = pattern.items()
    if kind == "Array":
        for item in node["items"]:
            yield from _objects(item, is_ground=is_ground)
    elif kind == "Object" and (is_ground or _names([pattern])):
        yield node


def _names(patterns: list[Node]) -> set[str]:
    return {str(node["value"]) for kind, node in nodes(patterns) if kind == "Var"}


def _name(spec: Node) -> str:
    head = spec
    if "head" in spec:
        (head,) = spec["head"].values()
    ((kind, node),) = head["refr"].items()
    return (path_of(kind, node) or ("",))[0] or ""


def _name_of_call(node: Node) -> str:
    ((kind, called),) = node["fcn"].items()
    return ".".join(part or "" for part in path_of(kind, called))
