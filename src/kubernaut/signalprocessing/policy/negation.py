"""Negated expressions as OPA evaluates them.

OPA takes the operands of a negated call out of the negation: `not startswith(input.a, "x")` is
`a := input.a; not startswith(a, "x")`, hence undefined where `input.a` is. The engine negates the whole.
"""

import re
from collections.abc import Iterator
from typing import Any

from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy.rewrite import Edit, Rewritten, apply, extent
from kubernaut.signalprocessing.policy.syntax import place_of

_PREFIX = "kubernaut_operand"
_SCALARS = frozenset(
    {"String", "RawString", "Number", "True", "False", "Null", "Bool", "ArrayCompr", "SetCompr", "ObjectCompr"}
)
_TAKEN_OUT = _SCALARS | {"Call", "ArithExpr", "BinExpr"}
"""Operands that are evaluated before the negation, or have variables of their own."""

UNSAFE_WILDCARD = "var _ is unsafe in a negated expression; make a rule of the expression, and negate that"

_BRACKETS = re.compile(rb"(?:\s*\))*")
_EQUALITIES = frozenset({"Eq", "ColEq"})


def unsafe_wildcards(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each `_` that stays in a negated expression, which OPA refuses as unsafe."""
    for statement in _dictionaries(tree, "literal"):
        negated = (statement.get("literal") or {}).get("NotExpr")
        if negated is not None:
            ((_, node),) = negated["expr"].items()
            yield from _wildcards(node)


def _wildcards(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, list):
        for each in part:
            yield from _wildcards(each)
    elif isinstance(part, dict):
        for kind, inner in part.items():
            if kind == "Var" and inner["value"] == "_":
                yield inner
            elif kind not in _TAKEN_OUT:
                yield from _wildcards(inner)


def hoisted(file: str, source: bytes, tree: dict[str, Any]) -> Rewritten:
    """The module with the operands of its negated expressions before them. Raises PolicyError where OPA does."""
    for node in unsafe_wildcards(tree):
        line, column = place_of(source, node["span"]["start"])
        raise PolicyError(UNSAFE_WILDCARD, file=file, line=line, column=column)
    edits: list[Edit] = []
    bare = {
        query["span"]["start"] for query in _dictionaries(tree, "stmts") if source[query["span"]["start"] :][:1] != b"{"
    }
    for statement in _dictionaries(tree, "literal"):
        negated = (statement.get("literal") or {}).get("NotExpr")
        if negated is None:
            continue
        modifiers = _modifiers(source, statement)
        before = b""
        for node in _operands(negated["expr"]):
            start, end = extent(source, node)
            name = f"{_PREFIX}_{len(edits)}".encode()
            before += name + b" := " + source[start:end] + modifiers + b"; "
            edits.append(Edit(start=start, end=end, text=name, phase=2))
        if before:
            start, end = negated["span"]["start"], _end(source, negated, statement)
            is_bare = start in bare and source[:start].rstrip().endswith(b"if")
            edits.append(Edit(start=start, end=start, text=b"{ " * is_bare + before, phase=1))
            if is_bare:
                edits.append(Edit(start=end, end=end, text=b" }", phase=0))
    return apply(source, edits)


def _dictionaries(tree: Any, key: str) -> Iterator[dict[str, Any]]:
    """Every part of the tree with such a key."""
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, dict):
            if key in node:
                yield node
            pending.extend(node.values())


def _end(source: bytes, negated: dict[str, Any], statement: dict[str, Any]) -> int:
    ((_, expression),) = negated["expr"].items()
    ends = [extent(source, node)[1] for node in (expression, *(statement.get("with_mods") or ()))]
    closing = _BRACKETS.match(source, max(ends))
    return closing.end() if closing else max(ends)


def _modifiers(source: bytes, statement: dict[str, Any]) -> bytes:
    modifiers = statement.get("with_mods") or []
    if not modifiers:
        return b""
    end = max(extent(source, modifier)[1] for modifier in modifiers)
    return b" " + source[modifiers[0]["span"]["start"] : end]


def _operands(expression: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The nodes that OPA takes out of a negation."""
    ((kind, node),) = expression.items()
    if kind in ("BoolExpr", "AssignExpr") and node["op"] in _EQUALITIES:
        for side in (node["lhs"], node["rhs"]):
            yield from _inner(side)
    elif kind == "Call":
        for operand in node["params"]:
            yield from _whole(operand)
    elif kind in ("BoolExpr", "ArithExpr", "BinExpr"):
        for side in (node["lhs"], node["rhs"]):
            yield from _whole(side)
    elif kind == "Membership":
        for side in (node.get("key"), node["value"], node["collection"]):
            if side:
                yield from _whole(side)
    else:
        yield from _inner(expression)


def _whole(expression: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The operand itself, unless it is a constant, a comprehension or `_`."""
    ((kind, node),) = expression.items()
    if kind not in _SCALARS and not (kind == "Var" and node["value"] == "_"):
        yield node


def _inner(expression: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What is taken out of an operand that stays: calls, collections, and what selects a part of it."""
    ((kind, node),) = expression.items()
    if kind in ("Var", *_SCALARS):
        return
    if kind == "RefDot":
        yield from _inner(node["refr"])
    elif kind == "RefBrack":
        yield from _inner(node["refr"])
        ((index, selected),) = node["index"].items()
        if index not in ("Var", *_SCALARS):
            yield selected
    else:
        yield node
