"""Fractions of more digits than a double has, such as 1 / 3: where they may arise, and what is done about it there.

OPA calculates with 64 bits, the engine with 53. A result between two doubles is carried as a marked text
(`builtins.results`), which equals only itself, as such a fraction equals no other number of the engine. All that tells
texts from numbers in another way than `==` does is replaced where a fraction may come: orders, arithmetic, and builtins
that take numbers. Everything else there refuses a fraction, which fails its rule. Policies without arithmetic stay as
they are.
"""

from collections.abc import Callable
from typing import Any

from kubernaut.signalprocessing.policy.builtins.results import MARK
from kubernaut.signalprocessing.policy.ordering import ORDERS, Origins

Expression = dict[str, Any]

MAKES = frozenset({"abs", "product", "sum"})
"""Builtins whose result may be such a fraction."""

HELPED = frozenset({"count", "is_number", "is_string", "max", "min", "round", "sort", "type_name"})
"""Builtins of the engine that `HELPERS` has another form of."""

TAKES = (
    MAKES
    | HELPED
    | {"ceil", "floor", "format_int", "print", "sprintf", "to_number", "trace", "walk"}
    | {"is_array", "is_boolean", "is_null", "is_object", "is_set"}
    | {"array.concat", "array.reverse", "object.get", "object.keys", "object.union"}
)
"""Builtins that take fractions as OPA's do; the last ones say the same of a text, or do not look into collections."""

_PASS_ON = frozenset({"array.concat", "array.reverse", "max", "min", "object.get", "object.union", "sort", "walk"})
_WITHOUT = frozenset(
    {"BoolExpr", "Bool", "False", "Membership", "Null", "Number", "RawString", "Set", "SetCompr", "String", "True"}
)


def may_be_fraction(origins: Origins, expression: Expression, seen: frozenset[str] = frozenset()) -> bool:
    """Whether the value may be or hold a fraction, as far as the text of its module tells."""
    ((kind, node),) = expression.items()
    if kind == "ArithExpr":
        return bool(node["op"] != "Mod")
    if kind == "Var":
        name = str(node["value"])
        if name in seen:
            return False
        parts, seen = origins.of(name), seen | {name}
    elif kind == "Call":
        parts = _parts_of_call(origins, node)
    else:
        parts = _PARTS[kind](node) if kind in _PARTS else None
    return parts is None or any(may_be_fraction(origins, part, seen) for part in parts)


_PARTS: dict[str, Callable[[dict[str, Any]], list[Expression]]] = {
    **dict.fromkeys(_WITHOUT, lambda _: []),
    "RefDot": lambda node: [node["refr"]],
    "RefBrack": lambda node: [node["refr"]],
    "Array": lambda node: list(node["items"]),
    "ArrayCompr": lambda node: [node["term"]],
    "Object": lambda node: [value for _, _, value in node["fields"]],
    "ObjectCompr": lambda node: [node["value"]],
}
"""The expressions that the value of one is or holds, by its kind."""


def _parts_of_call(origins: Origins, node: dict[str, Any]) -> list[Expression] | None:
    name = origins.text_of(node["fcn"])
    if origins.is_unknown_function(name) or name in MAKES:
        return None
    return list(node["params"]) if name in _PASS_ON else []


HELPERS = f"""
is_fraction(x) if {{ is_string(x); x >= "\\u0000{MARK[1:]}"; x < "\\u0000{MARK[1:-1]};" }}
has_fraction(x) if is_fraction(x)
has_fraction(x) if {{ is_compound(x); walk(x, [_, part]); is_fraction(part) }}
has_fractions(x, _) if has_fraction(x)
has_fractions(_, y) if has_fraction(y)
plain(x) := x if not has_fraction(x)
plain(x) := kubernaut.refuse(0)[0] if has_fraction(x)
fraction_is_number(x) := guarded_is_number(x) if not is_fraction(x)
fraction_is_number(x) := true if is_fraction(x)
fraction_is_string(x) := guarded_is_string(x) if not is_fraction(x)
fraction_is_string(x) := false if is_fraction(x)
fraction_type_name(x) := guarded_type_name(x) if not is_fraction(x)
fraction_type_name(x) := "number" if is_fraction(x)
fraction_count(x) := guarded_count(x) if not is_fraction(x)
fraction_round(x) := kubernaut.nearest(x)[0]
fraction_max(x) := guarded_max(x) if not has_fraction(x)
fraction_max(x) := kubernaut.maximum(x)[0] if has_fraction(x)
fraction_min(x) := guarded_min(x) if not has_fraction(x)
fraction_min(x) := kubernaut.minimum(x)[0] if has_fraction(x)
fraction_sort(x) := guarded_sort(x) if not has_fraction(x)
fraction_sort(x) := kubernaut.ascending(x)[0] if has_fraction(x)
""" + "".join(
    f"fraction_{name.lower()}(x, y) := x {sign} y if not has_fractions(x, y)\n"
    f"fraction_{name.lower()}(x, y) := kubernaut.compare(x, y)[0] {sign} 0 if has_fractions(x, y)\n"
    f"mixed_{name.lower()}(x, y) := fraction_{name.lower()}(x, y) if comparable(x, y)\n"
    for name, sign in ORDERS.items()
)
"""Functions in Rego that stand in for what a fraction may come to."""
