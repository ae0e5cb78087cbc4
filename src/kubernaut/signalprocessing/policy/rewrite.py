"""From a policy as it is written to one that this engine answers as OPA would.

OPA takes a builtin that fails for undefined, and the engine for an error; some builtins of the engine, and all its
arithmetic on fractions, give other answers. So calls are replaced: `f(x)` becomes `f(x)[0]`, where our `f` returns a
list that is empty when the result is undefined. What cannot be made equal is refused here, with its place.

There are two forms. The fast one keeps what the engine does well by itself as long as all texts are ASCII and nothing
fails; the exact one, slower, is asked where that does not hold.
"""

import re
from dataclasses import dataclass
from typing import Any

from kubernaut.signalprocessing.policy import fractions, ordering
from kubernaut.signalprocessing.policy.analysis import (
    Module,
    differences,
    is_builtin,
    module_of,
    name_of,
    nodes_of,
    refused,
)
from kubernaut.signalprocessing.policy.builtins import table
from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy.syntax import place_of

HELPERS = "kubernaut_builtins"
ARITHMETIC = {"Add": "plus", "Sub": "minus", "Mul": "times", "Div": "divide", "Mod": "modulo"}
_SET_OPERATORS = {"Intersection": "set_and", "Union": "set_or"}
_SIGNS = {"Add": "+", "Sub": "-", "Mul": "*", "Div": "/", "Mod": "%", "Intersection": "&", "Union": "|"}
_OPAQUE = re.compile(rb'"(?:[^"\\\n]|\\.)*"|`[^`]*`|#[^\n]*')
_GAP = re.compile(rb"[\"`]?(?:[\s)]|#[^\n]*)*")


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A replacement of some bytes; `phase` orders those at one place."""

    start: int
    end: int
    text: bytes
    phase: int
    origin: int | None = None
    """Where the text stands in the source, if it was moved from there."""


_CLOSE, _OPEN, _REPLACE = range(3)

_ALWAYS_GUARDED = frozenset({"json.marshal"})
"""What Go escapes, and how it writes fractions, is not the engine's way."""


def all_differences(file: str, text: str, tree: dict[str, Any]) -> list[PolicyError]:
    """Every place of the module that cannot be made equal to OPA."""
    module = module_of(file, text, tree)
    found = [*differences(module, is_ours=False)]
    for kind, node in module.nodes:
        if kind in ("ArithExpr", "BinExpr"):
            try:
                _rewrite_operator(module, node, [], [], exact=True)
            except PolicyError as error:
                found.append(error)
    return found


def rewritten(module: Module, *, exact: bool) -> "Rewritten":
    """The module in one of the two forms."""
    edits: list[Edit] = []
    closings: list[Edit] = []
    checked = _order_checks(module)
    conditions = _conditions(module)
    for kind, node in module.nodes:
        if function := checked.get(id(node)):
            start, end = extent(module.source, node)
            edits.append(Edit(start=start, end=start, text=f"data.{HELPERS}.{function}".encode(), phase=_OPEN))
            closings.append(Edit(start=end, end=end, text=b")", phase=_CLOSE))
        for inner in _plain_only(module, kind, node):
            start, end = extent(module.source, inner)
            edits.append(Edit(start=start, end=start, text=f"data.{HELPERS}.plain(".encode(), phase=_OPEN))
            closings.append(Edit(start=end, end=end, text=b")", phase=_CLOSE))
        if kind == "Call":
            _rewrite_call(module, node, edits, closings, exact=exact)
        elif kind in ("ArithExpr", "BinExpr"):
            _rewrite_operator(module, node, edits, closings, exact=exact)
        elif kind == "Membership" and id(node) not in conditions:
            opening = f"data.{HELPERS}.{'member_at' if node['key'] else 'member'}("
            _rewrite_infix(module, node, node["value"], (opening, "in", ")"), edits, closings)
        elif kind == "BoolExpr" and node["op"] in ordering.ORDERS and (helper := _order_helper(module, node)):
            opening = f"data.{HELPERS}.{helper}_{node['op'].lower()}("
            _rewrite_infix(module, node, node["lhs"], (opening, ordering.ORDERS[node["op"]], ")"), edits, closings)
    # Nodes come outer first, so the inner one closes first when the order is turned round.
    return apply(module.source, [*reversed(closings), *edits])


def apply(source: bytes, edits: list[Edit]) -> "Rewritten":
    """The source with all edits made."""
    ordered = sorted(edits, key=lambda edit: (edit.start, edit.phase))
    parts, place = [], 0
    for edit in ordered:
        parts += [source[place : edit.start], edit.text]
        place = edit.end
    text = b"".join([*parts, source[place:]]).decode()
    return Rewritten(text=text, source=source, edits=tuple(ordered))


@dataclass(frozen=True, kw_only=True)
class Rewritten:
    """A text that was made of another one."""

    text: str
    source: bytes
    edits: tuple[Edit, ...]

    def place(self, line: int, column: int) -> tuple[int, int]:
        """Line and column in the file as it was written."""
        before = self.text.split("\n")[:line]
        before[-1:] = [each[: max(0, column - 1)] for each in before[-1:]]
        target = len("\n".join(before).encode())
        written, read = 0, 0
        for edit in self.edits:
            if target < written + edit.start - read:
                break
            written, read = written + edit.start - read, edit.start
            if target < written + len(edit.text):
                return place_of(self.source, read if edit.origin is None else edit.origin + target - written)
            written, read = written + len(edit.text), edit.end
        return place_of(self.source, read + target - written)


def helper_module() -> str:
    """Functions that are undefined where a builtin of the engine would fail."""
    lines = [
        f"package {HELPERS}",
        "import rego.v1",
        "is_any(x) := true",
        "guarded_count(x) := kubernaut.text_length(x)[0] if is_string(x)",
        "is_countable(x) if is_collection(x)",
        "is_countable(x) if is_object(x)",
        "is_collection(x) if is_array(x)",
        "is_collection(x) if is_set(x)",
        "is_set_of_sets(x) if { is_set(x); every y in x { is_set(y) } }",
        "set_and(x, y) := x & y if { is_set(x); is_set(y) }",
        "set_or(x, y) := x | y if { is_set(x); is_set(y) }",
        "member(x, y) := x in y",
        "member_at(x, y, z) := (x, y in z)",
        "minus(x, y) := kubernaut.minus(x, y)[0] if { not is_compound(x); not is_compound(y) }",
        "minus(x, y) := x - y if { is_set(x); is_set(y) }",
    ]
    for name, guards in table.GUARDED.items():
        operands = [f"x{place}" for place in range(len(guards))]
        checks = "; ".join(f"{guard}({operand})" for guard, operand in zip(guards, operands, strict=True))
        call = f"{name}({', '.join(operands)})"
        if name in _ALWAYS_GUARDED:
            call = f"kubernaut.json_text({call})[0]"
        lines.append(f"{_helper(name)}({', '.join(operands)}) := {call} if {{ {checks} }}")
    return "\n".join(lines) + "\n" + ordering.HELPERS + fractions.HELPERS


def extent(source: bytes, node: dict[str, Any]) -> tuple[int, int]:
    """From where to where a node goes; the parser leaves out the quotes of strings and all but the end of objects."""
    start, end = node["span"]["start"], node["span"]["end"]
    if node.get("fields"):
        ((_, key, _), *_) = node["fields"]
        (first,) = key.values()
        return _brace_before(source, extent(source, first)[0]), end
    return start - (source[start - 1 : start] in (b'"', b"`")), end + (source[end : end + 1] in (b'"', b"`"))


def _brace_before(source: bytes, place: int) -> int:
    """Where the brace is from which only blanks and comments lead to a place."""
    code = _OPAQUE.sub(lambda match: b" " * len(match[0]), source)
    return code.rindex(b"{", 0, place)


def _helper(name: str) -> str:
    return "guarded_" + name.replace(".", "_")


def _rewrite_call(
    module: Module, node: dict[str, Any], edits: list[Edit], closings: list[Edit], *, exact: bool
) -> None:
    name = name_of(module, node["fcn"])
    if not is_builtin(module, name):
        return
    if name in fractions.HELPED and _may_be_fraction(module, *node["params"]):
        _rename(node, f"fraction_{name}", edits)
    elif (
        name in table.OURS
        or name in table.TRIED_ALWAYS
        or (exact and (name in table.OURS_BEYOND_ASCII or name in table.TRIED))
    ):
        end = node["span"]["end"]
        closings.append(Edit(start=end, end=end, text=b"[0]", phase=_CLOSE))
    elif name in _ALWAYS_GUARDED or (exact and name in table.GUARDED):
        _rename(node, _helper(name), edits)


def _rename(call: dict[str, Any], function: str, edits: list[Edit]) -> None:
    """Have a function of ours called instead."""
    (called,) = call["fcn"].values()
    span = called["span"]
    text = f"data.{HELPERS}.{function}".encode()
    edits.append(Edit(start=span["start"], end=span["end"], text=text, phase=_REPLACE))


def _rewrite_operator(
    module: Module, node: dict[str, Any], edits: list[Edit], closings: list[Edit], *, exact: bool
) -> None:
    operator = node["op"]
    if operator in _SET_OPERATORS:
        if not exact:
            return
        opening, closing = f"data.{HELPERS}.{_SET_OPERATORS[operator]}(", ")"
    elif operator == "Sub":
        opening, closing = f"data.{HELPERS}.minus(", ")"
    else:
        opening, closing = f"kubernaut.{ARITHMETIC[operator]}(", ")[0]"
    _rewrite_infix(module, node, node["lhs"], (opening, _SIGNS[operator], closing), edits, closings)


def _conditions(module: Module) -> set[int]:
    """The expressions `x in y` that are statements; there, false is the same as undefined."""
    return {
        id(inner)
        for _, node in module.nodes
        for statement in node.get("stmts", ())
        for expression in ((statement["literal"].get("Expr") or statement["literal"].get("NotExpr") or {}).get("expr"),)
        for inner in (expression or {}).values()
    }


def _rewrite_infix(
    module: Module,
    node: dict[str, Any],
    before: dict[str, Any],
    forms: tuple[str, str, str],
    edits: list[Edit],
    closings: list[Edit],
) -> None:
    """`x SIGN y` as `OPENING x, y CLOSING`; `before` is what stands before the sign."""
    opening, sign, closing = forms
    (left,) = before.values()
    gap = _GAP.match(module.source, left["span"]["end"])
    place = gap.end() if gap else left["span"]["end"]
    if not module.source.startswith(sign.encode(), place):
        raise refused(module, node, "this expression is not understood; put brackets and blanks around its operands")
    start, end = extent(module.source, node)
    edits.append(Edit(start=start, end=start, text=opening.encode(), phase=_OPEN))
    edits.append(Edit(start=place, end=place + len(sign), text=b",", phase=_REPLACE))
    closings.append(Edit(start=end, end=end, text=closing.encode(), phase=_CLOSE))


def _may_be_fraction(module: Module, *expressions: dict[str, Any]) -> bool:
    return module.may_have_fractions and any(
        fractions.may_be_fraction(module.origins, expression) for expression in expressions
    )


def _plain_only(module: Module, kind: str, node: dict[str, Any]) -> list[dict[str, Any]]:
    """The expressions below a node that must not be fractions: what is sorted, and operands of most functions."""
    operands = [element] if (element := _head_element(kind, node)) else _elements(kind, node)
    if kind == "Set":
        operands = node.get("items", operands) or operands
    if kind == "Call":
        name = name_of(module, node["fcn"])
        is_ours = name in (fractions.TAKES if is_builtin(module, name) else module.functions)
        operands = [] if is_ours else node["params"]
    return [inner for each in operands if _may_be_fraction(module, each) for inner in each.values()]


def _order_helper(module: Module, comparison: dict[str, Any]) -> str:
    """The family of functions that stands in for `<` here, if one has to."""
    is_fraction = _may_be_fraction(module, comparison["lhs"], comparison["rhs"])
    if _may_mix(module, comparison):
        return "mixed" if is_fraction else "order"
    return "fraction" if is_fraction else ""


def _may_mix(module: Module, comparison: dict[str, Any]) -> bool:
    """Whether both operands may be collections, one of them with a set."""
    sides = (comparison["lhs"], comparison["rhs"])
    origins = module.origins
    return not any(map(origins.is_scalar, sides)) and any(map(origins.may_hold_set, sides))


def _order_checks(module: Module) -> dict[int, str]:
    """The nodes whose elements are checked for sets beside objects, with the beginning of the call that does it."""
    found: dict[int, str] = {}
    for kind, node in module.nodes:
        if any(map(module.origins.may_hold_set, _elements(kind, node))):
            found[id(node)] = "ordered("
        elif element := _head_element(kind, node):
            if module.origins.may_hold_set(element):
                (inner,) = element.values()
                found[id(inner)] = f"element({_site(module, node)}, "
        elif joined := _joined(module, kind, node):
            if any(map(module.origins.may_hold_set_inside, joined)):
                found[id(node)] = "ordered("
        elif (operand := _sorted(module, kind, node)) and module.origins.may_hold_set_inside(operand):
            (inner,) = operand.values()
            found[id(inner)] = "ordered("
    for kind, node in module.nodes:
        if kind == "Default":  # calls are not allowed there, and whatever mixes is refused by its text
            for _, inner in nodes_of(node):
                found.pop(id(inner), None)
    return found


def _elements(kind: str, node: dict[str, Any]) -> list[dict[str, Any]]:
    """What an expression sorts."""
    if kind == "SetCompr":
        return [node["term"]]
    if kind == "ObjectCompr":
        return [node["key"]]
    elements = node.get("items", []) if kind == "Set" else []
    if kind == "Object":
        elements = [key for _, key, _ in node["fields"]]
    return list(elements) if len(elements) > 1 else []


def _head_element(kind: str, node: dict[str, Any]) -> dict[str, Any] | None:
    """What a rule adds to its set, or the key that it adds to its object."""
    if kind == "Set" and node.get("key"):
        return dict(node["key"])
    return dict(node["refr"]["RefBrack"]["index"]) if kind == "Compr" and "RefBrack" in node["refr"] else None


def _joined(module: Module, kind: str, node: dict[str, Any]) -> list[dict[str, Any]]:
    """The collections that an expression makes one of."""
    if kind == "BinExpr" and node["op"] == "Union":
        return [node["lhs"], node["rhs"]]
    return list(node["params"]) if kind == "Call" and name_of(module, node["fcn"]) in ordering.JOINS else []


def _sorted(module: Module, kind: str, node: dict[str, Any]) -> dict[str, Any] | None:
    """The collection that a builtin sorts."""
    is_call = kind == "Call" and len(node["params"]) == 1 and name_of(module, node["fcn"]) in ordering.SORTS
    return dict(node["params"][0]) if is_call else None


def _site(module: Module, head: dict[str, Any]) -> str:
    return f'"{module.file}:{name_of(module, head["refr"]).split("[")[0]}"'.replace("\\", "/")
