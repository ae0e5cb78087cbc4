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

from kubernaut.signalprocessing.policy.analysis import Module, differences, is_builtin, name_of, nodes_of, refused
from kubernaut.signalprocessing.policy.builtins import table
from kubernaut.signalprocessing.policy.errors import PolicyError

HELPERS = "kubernaut_builtins"
ARITHMETIC = {"Add": "plus", "Sub": "minus", "Mul": "times", "Div": "divide", "Mod": "modulo"}
_SET_OPERATORS = {"Intersection": "set_and", "Union": "set_or"}
_SIGNS = {"Add": "+", "Sub": "-", "Mul": "*", "Div": "/", "Mod": "%", "Intersection": "&", "Union": "|"}
_GAP = re.compile(rb"[\"`]?(?:[\s)]|#[^\n]*)*")


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A replacement of some bytes; `phase` orders those at one place."""

    start: int
    end: int
    text: bytes
    phase: int


_CLOSE, _OPEN, _REPLACE = range(3)


def all_differences(file: str, text: str, tree: dict[str, Any]) -> list[PolicyError]:
    """Every place of the module that cannot be made equal to OPA."""
    module = Module(file=file, source=text.encode(), nodes=[*nodes_of(tree)])
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
    for kind, node in module.nodes:
        if kind == "Call":
            _rewrite_call(module, node, edits, closings, exact=exact)
        elif kind in ("ArithExpr", "BinExpr"):
            _rewrite_operator(module, node, edits, closings, exact=exact)
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

    def column(self, line: int, column: int) -> int:
        """The column in the file as it was written."""
        start = 0
        for _ in range(line - 1):
            start = self.source.find(b"\n", start) + 1
        shift = 0
        for edit in self.edits:
            if edit.start < start:
                continue
            before = len(self.source[start : edit.start].decode(errors="replace"))
            if b"\n" in self.source[start : edit.start] or before + shift + 1 >= column:
                break
            shift += len(edit.text.decode()) - (edit.end - edit.start)
        return max(1, column - shift)


def helper_module() -> str:
    """Functions that are undefined where a builtin of the engine would fail."""
    lines = [
        f"package {HELPERS}",
        "import rego.v1",
        "is_any(x) := true",
        "is_countable(x) if is_string(x)",
        "is_countable(x) if is_collection(x)",
        "is_countable(x) if is_object(x)",
        "is_collection(x) if is_array(x)",
        "is_collection(x) if is_set(x)",
        "is_set_of_sets(x) if { is_set(x); every y in x { is_set(y) } }",
        "set_and(x, y) := x & y if { is_set(x); is_set(y) }",
        "set_or(x, y) := x | y if { is_set(x); is_set(y) }",
        "minus(x, y) := kubernaut.minus(x, y)[0] if { is_number(x); is_number(y) }",
        "minus(x, y) := x - y if { is_set(x); is_set(y) }",
    ]
    for name, guards in table.GUARDED.items():
        operands = [f"x{place}" for place in range(len(guards))]
        checks = "; ".join(f"{guard}({operand})" for guard, operand in zip(guards, operands, strict=True))
        call = f"{name}({', '.join(operands)})"
        if name == "json.marshal":  # OPA escapes the two characters that end a line in JavaScript
            # Only the exact form calls it, and there `replace` is ours.
            call = f'replace(replace({call}, "\u2028", "\\\\u2028")[0], "\u2029", "\\\\u2029")[0]'
        lines.append(f"{_helper(name)}({', '.join(operands)}) := {call} if {{ {checks} }}")
    return "\n".join(lines) + "\n"


def extent(source: bytes, node: dict[str, Any]) -> tuple[int, int]:
    """From where to where a node goes; the parser leaves the quotes of strings at its ends out."""
    start, end = node["span"]["start"], node["span"]["end"]
    return start - (source[start - 1 : start] in (b'"', b"`")), end + (source[end : end + 1] in (b'"', b"`"))


def _helper(name: str) -> str:
    return "guarded_" + name.replace(".", "_")


def _rewrite_call(
    module: Module, node: dict[str, Any], edits: list[Edit], closings: list[Edit], *, exact: bool
) -> None:
    name = name_of(module, node["fcn"])
    if not is_builtin(module, name):
        return
    if (
        name in table.OURS
        or name in table.TRIED_ALWAYS
        or (exact and (name in table.OURS_BEYOND_ASCII or name in table.TRIED))
    ):
        end = node["span"]["end"]
        closings.append(Edit(start=end, end=end, text=b"[0]", phase=_CLOSE))
    elif exact and name in table.GUARDED:
        (called,) = node["fcn"].values()
        span = called["span"]
        text = f"data.{HELPERS}.{_helper(name)}".encode()
        edits.append(Edit(start=span["start"], end=span["end"], text=text, phase=_REPLACE))


def _rewrite_operator(
    module: Module, node: dict[str, Any], edits: list[Edit], closings: list[Edit], *, exact: bool
) -> None:
    operator = node["op"]
    if operator in _SET_OPERATORS:
        if not exact:
            return
        opening, closing = f"data.{HELPERS}.{_SET_OPERATORS[operator]}(", b")"
    elif operator == "Sub":
        opening, closing = f"data.{HELPERS}.minus(", b")"
    else:
        opening, closing = f"kubernaut.{ARITHMETIC[operator]}(", b")[0]"
    (left,) = node["lhs"].values()
    gap = _GAP.match(module.source, left["span"]["end"])
    place = gap.end() if gap else left["span"]["end"]
    if module.source[place : place + 1] != _SIGNS[operator].encode():
        raise refused(module, node, "this expression is not understood; put brackets and blanks around its operands")
    start, end = extent(module.source, node)
    edits.append(Edit(start=start, end=start, text=opening.encode(), phase=_OPEN))
    edits.append(Edit(start=place, end=place + 1, text=b",", phase=_REPLACE))
    closings.append(Edit(start=end, end=end, text=closing, phase=_CLOSE))
