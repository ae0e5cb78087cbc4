"""Sets beside objects, which OPA orders otherwise than the engine: where the two may meet, and the checks for it.

OPA sorts objects before sets, the engine sets before objects. The order shows in whatever compares elements: sets, keys
of objects, `sort`, `min`, `max` and `<`. An input is JSON and has no sets, so they meet only where a policy puts sets
into something that is sorted. Where that cannot be excluded by looking at the text, the place is checked while the
policy runs, and a mixture fails its rule.
"""

from collections.abc import Iterator
from typing import Any

from kubernaut.signalprocessing.policy.builtins.results import Inexact
from kubernaut.signalprocessing.policy.syntax import nodes

Expression = dict[str, Any]

ORDERS = {"Lt": "<", "Le": "<=", "Gt": ">", "Ge": ">="}
JOINS = frozenset({"union", "object.union", "object.union_n"})
"""Builtins whose result may mix what their operands do not."""
SORTS = frozenset({"sort", "min", "max"})

_SCALARS = frozenset({"String", "RawString", "Number", "True", "False", "Null", "Bool"})
_RETURN_SETS = frozenset({"object.keys", "union", "intersection"})
_PASS_ON = frozenset(
    {
        *("array.concat", "array.reverse", "array.slice", "object.get", "object.filter", "object.remove"),
        *("object.union", "object.union_n", "json.remove", "json.patch", "sort", "min", "max", "walk"),
    }
)
"""Builtins whose result holds a set only if an operand does."""


class Origins:
    """Where the values of a module's variables come from, without regard to scopes: a name has all of its origins."""

    def __init__(
        self, tree: dict[str, Any], source: bytes, aliases: tuple[str, ...], functions: dict[str, int]
    ) -> None:
        self._source = source
        self._functions = functions
        self._origins: dict[str, list[tuple[Expression, str]]] = {}
        """Expressions with how a name relates to each: it is the `value`, `inside`, a set of that `element`."""
        self._unknown = set(aliases) | {"data"}
        readers = {
            "AssignExpr": self._read_assignment,
            "SomeIn": self._read_some,
            "Every": self._read_every,
            "RefBrack": lambda node: self._bind(node["index"], node["refr"], "inside"),
            "Func": lambda node: self._unknown.update(*map(_names, node["args"])),
            "Call": self._read_call,
        }
        for kind, node in nodes(tree):
            if read := readers.get(kind):
                read(node)
        for rule in tree["rules"]:
            self._read_rule(rule)
        if b" with " in source or b"\nwith " in source or b"\twith " in source:
            self._unknown.add("input")

    def may_hold_set(self, expression: Expression) -> bool:
        """Whether the value may be a set or hold one, as far as the text tells."""
        return self._may(expression, set(), inside=False)

    def may_hold_set_inside(self, expression: Expression) -> bool:
        """The same of the elements, keys and values of a collection."""
        return self._may(expression, set(), inside=True)

    def is_scalar(self, expression: Expression) -> bool:
        """Whether the value certainly is no collection."""
        ((kind, node),) = expression.items()
        return kind in _SCALARS or (kind == "ArithExpr" and node["op"] != "Sub")

    def of(self, name: str) -> list[Expression] | None:
        """The expressions that a variable or a rule takes its values from; None when they are not all known."""
        if name == "input" and name not in self._unknown:
            return []
        return None if name in self._unknown or name not in self._origins else [each for each, _ in self._origins[name]]

    def is_unknown_function(self, name: str) -> bool:
        """Whether the function is none of the builtins."""
        return name in self._functions or name.split(".")[0] in self._unknown

    def _may(self, expression: Expression, seen: set[tuple[str, bool]], *, inside: bool) -> bool:
        ((kind, node),) = expression.items()
        if kind in _SCALARS or kind in ("BoolExpr", "Membership"):
            return False
        if kind in ("Set", "SetCompr"):
            elements = node["items"] if kind == "Set" else [node["term"]]
            return not inside or self._any(elements, seen)
        if kind in ("Array", "ArrayCompr"):
            return self._any(node["items"] if kind == "Array" else [node["term"]], seen)
        if kind == "Object":
            return self._any([part for _, key, value in node["fields"] for part in (key, value)], seen)
        if kind == "ObjectCompr":
            return self._any([node["key"], node["value"]], seen)
        if kind == "ArithExpr":
            if node["op"] != "Sub" or self.is_scalar(node["lhs"]) or self.is_scalar(node["rhs"]):
                return False
            return self._may(node["lhs"], seen, inside=inside)
        if kind == "BinExpr":
            return not inside or any(self._may(node[side], seen, inside=True) for side in ("lhs", "rhs"))
        if kind == "Call":
            return self._may_call(node, seen)
        if kind in ("RefDot", "RefBrack"):
            return self._may(node["refr"], seen, inside=True)
        return kind != "Var" or self._may_name(str(node["value"]), seen, inside=inside)

    def _any(self, expressions: list[Expression], seen: set[tuple[str, bool]]) -> bool:
        return any(self._may(each, seen, inside=False) for each in expressions)

    def _may_call(self, node: dict[str, Any], seen: set[tuple[str, bool]]) -> bool:
        name = self.text_of(node["fcn"])
        if self.is_unknown_function(name) or name in _RETURN_SETS:
            return True
        return name in _PASS_ON and self._any(node["params"], seen)

    def _may_name(self, name: str, seen: set[tuple[str, bool]], *, inside: bool) -> bool:
        if name in self._unknown:
            return True
        if name == "input":
            return False
        if (name, inside) in seen:
            return False
        seen.add((name, inside))
        origins = self._origins.get(name)
        if origins is None:
            return True
        return any(
            (not inside or self._may(each, seen, inside=False))
            if relation == "element"
            else self._may(each, seen, inside=inside or relation == "inside")
            for each, relation in origins
        )

    def _read_assignment(self, node: dict[str, Any]) -> None:
        self._bind(node["lhs"], node["rhs"], "value")
        if node["op"] != "ColEq":
            self._bind(node["rhs"], node["lhs"], "value")

    def _read_some(self, node: dict[str, Any]) -> None:
        for pattern in (node["key"], node["value"]):
            if pattern:
                self._bind(pattern, node["collection"], "inside")

    def _read_every(self, node: dict[str, Any]) -> None:
        for span in (node["key"], node["value"]):
            if span:
                name = self._source[span["start"] : span["end"]].decode()
                self._origins.setdefault(name, []).append((node["domain"], "inside"))

    def _read_call(self, node: dict[str, Any]) -> None:
        """Variables that a call binds as its last operand."""
        name, operands = self.text_of(node["fcn"]), node["params"]
        if name == "walk" and len(operands) > 1:
            self._bind(operands[1], operands[0], "value")
        elif operands and (name.split(".")[0] in self._unknown or len(operands) > self._functions.get(name, 99)):
            self._unknown.update(_names(operands[-1]))

    def _read_rule(self, rule: dict[str, Any]) -> None:
        ((kind, spec),) = rule.items()
        if kind == "Default":
            self._origins.setdefault(_root(spec["refr"]), []).append((spec["value"], "value"))
            return
        ((kind, head),) = spec["head"].items()
        origins = self._origins.setdefault(_root(head["refr"]), [])
        if kind == "Set" and head["key"]:
            origins.append((head["key"], "element"))
            return
        if "RefBrack" in head["refr"]:
            origins.append((head["refr"]["RefBrack"]["index"], "value"))
        assigned = [head.get("assign"), *(body.get("assign") for body in spec["bodies"])]
        origins += [(each["value"], "value") for each in assigned if each]

    def _bind(self, pattern: Expression, origin: Expression, relation: str) -> None:
        ((kind, _),) = pattern.items()
        if kind not in ("Var", "Array", "Object"):
            return
        for name in _names(pattern):
            # Part of a value that is taken apart is inside of it.
            relates = relation if kind == "Var" else "inside"
            self._origins.setdefault(name, []).append((origin, relates))

    def text_of(self, expression: Expression) -> str:
        """An expression as it is written, without blanks."""
        (inner,) = expression.values()
        return b"".join(self._source[inner["span"]["start"] : inner["span"]["end"]].split()).decode()


def _names(pattern: Expression) -> Iterator[str]:
    for kind, node in nodes([pattern]):
        if kind == "Var":
            yield str(node["value"])


def _root(reference: Expression) -> str:
    ((kind, node),) = reference.items()
    while kind in ("RefDot", "RefBrack"):
        ((kind, node),) = node["refr"].items()
    return str(node["value"]) if kind == "Var" else ""


HELPERS = """
is_compound(x) if is_array(x)
is_compound(x) if is_object(x)
is_compound(x) if is_set(x)
has_compound(x) if { is_object(x); some k, _ in x; is_compound(k) }
has_compound(x) if { not is_object(x); some e in x; is_compound(e) }
members(x) := [k | some k, _ in x] if is_object(x)
members(x) := [e | some e in x] if not is_object(x)
step(s) := s if not is_compound(s)
step(s) := "*" if is_compound(s)
kind(v) := "set" if is_set(v)
kind(v) := "object" if { is_object(v); not has_compound(v) }
kind(v) := "keyed" if { is_object(v); has_compound(v) }
shapes(e) := [[[step(s) | some s in p], kind(v)] | walk(e, [p, v])]
all_shapes(x) := [s | some e in members(x); some s in shapes(e)]
ordered(x) := x if not is_compound(x)
ordered(x) := x if { is_compound(x); not has_compound(x) }
ordered(x) := x if { is_compound(x); has_compound(x); kubernaut.ordered("", all_shapes(x))[0] }
element(site, x) := x if not is_compound(x)
element(site, x) := x if { is_compound(x); kubernaut.ordered(site, shapes(x))[0] }
comparable(x, y) if not is_compound(x)
comparable(x, y) if { is_compound(x); not is_compound(y) }
comparable(x, y) if { is_compound(x); is_compound(y); kubernaut.ordered("", all_shapes([x, y]))[0] }
""" + "".join(f"order_{name.lower()}(x, y) := x {sign} y if comparable(x, y)\n" for name, sign in ORDERS.items())
"""Functions in Rego that pass their operand on, or fail the rule when it mixes sets and objects."""


class Mixtures:
    """The kinds of value that were seen at each place of what is compared, while one document is evaluated."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[tuple[Any, ...], str]] = {}

    def clear(self) -> None:
        self._seen.clear()

    def ordered(self, site: Any, shapes: Any) -> bool:
        """True; `Inexact` where a set and an object are compared. Sites with a name are remembered."""
        seen = self._seen.setdefault(site, {}) if site else {}
        for path, kind in shapes:
            if kind == "keyed" or seen.setdefault(tuple(path), kind) != kind:
                raise Inexact(
                    "sets and objects are compared here, which OPA orders otherwise; use arrays in place of sets"
                )
        return True
