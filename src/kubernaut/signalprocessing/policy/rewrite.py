"""From a policy as it is written to one that this engine answers as OPA would.

OPA takes a builtin that fails for undefined, and the engine for an error; some builtins of the engine, and all its
arithmetic on fractions, give other answers. So calls are replaced: `f(x)` becomes `f(x)[0]`, where our `f` returns a
list that is empty when the result is undefined. What cannot be made equal is refused here, with its place.

There are two forms. The fast one keeps what the engine does well by itself as long as all texts are ASCII and nothing
fails; the exact one, slower, is asked where that does not hold.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from kubernaut.signalprocessing.policy.builtins import table
from kubernaut.signalprocessing.policy.errors import PolicyError

HELPERS = "kubernaut_builtins"
ARITHMETIC = {"Add": "plus", "Sub": "minus", "Mul": "times", "Div": "divide", "Mod": "modulo"}
_SET_OPERATORS = {"Intersection": "set_and", "Union": "set_or"}
_SIGNS = {"Add": "+", "Sub": "-", "Mul": "*", "Div": "/", "Mod": "%", "Intersection": "&", "Union": "|"}
_GAP = re.compile(rb"[\"`]?(?:[\s)]|#[^\n]*)*")
_CANONICAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]*[1-9])?")
_SHOWS_NUMBERS = frozenset({"sprintf", "json.marshal"})
_READS_NUMBERS = frozenset({"to_number", "json.unmarshal"})
_DECODES = frozenset({"base64.decode", "base64url.decode", "hex.decode", "urlquery.decode", "json.unmarshal"})
_MAX_DIGITS = 15


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A replacement of some bytes; `phase` orders those at one place."""

    start: int
    end: int
    text: bytes
    phase: int


_CLOSE, _OPEN, _REPLACE = range(3)


@dataclass(kw_only=True)
class Module:
    """What one file of a policy uses; made by `analyse`."""

    file: str
    source: bytes
    nodes: list[tuple[str, dict[str, Any]]]
    functions: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)
    is_ascii: bool = True


def analyse(file: str, text: str, tree: dict[str, Any], *, is_ours: bool = False) -> Module:
    """What the module uses. Raises PolicyError where that cannot be made equal to OPA."""
    module = Module(file=file, source=text.encode(), nodes=[*_nodes(tree)])
    module.functions = {_name(module, node["refr"]) for kind, node in module.nodes if kind == "Func"}
    for name in module.functions:
        if table.is_available(name):
            raise _refused(module, _head(module, name), f"a function must not have the name of the builtin {name}")
    for kind, node in module.nodes:
        if kind == "Call":
            _check_call(module, node, is_ours=is_ours)
        elif kind == "With":
            root = _name(module, node["refr"]).split(".")[0].split("[")[0]
            if root not in ("input", "data"):
                raise _refused(module, node, "`with` may replace parts of input and data only")
        elif kind in ("String", "RawString"):
            module.is_ascii = module.is_ascii and str(node.get("value", "")).isascii()
        elif kind == "UnaryExpr":
            raise _refused(module, node, "write 0 - x for the negative of x")
    _check_numbers(module)
    return module


def needs_exact(modules: list[Module]) -> bool:
    """Whether texts beyond ASCII can come from the policy itself."""
    return any(not module.is_ascii or module.calls & _DECODES for module in modules)


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
        lines.append(f"{_helper(name)}({', '.join(operands)}) := {name}({', '.join(operands)}) if {{ {checks} }}")
    return "\n".join(lines) + "\n"


def extent(source: bytes, node: dict[str, Any]) -> tuple[int, int]:
    """From where to where a node goes; the parser leaves the quotes of strings at its ends out."""
    start, end = node["span"]["start"], node["span"]["end"]
    return start - (source[start - 1 : start] in (b'"', b"`")), end + (source[end : end + 1] in (b'"', b"`"))


def _helper(name: str) -> str:
    return "guarded_" + name.replace(".", "_")


def _nodes(tree: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node with its kind, outer ones first."""
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(reversed(node))
        elif isinstance(node, dict):
            for modifier in node.get("with_mods") or ():
                yield "With", modifier
            for kind, inner in node.items():
                if isinstance(inner, dict) and isinstance(inner.get("span"), dict):
                    yield kind, inner
            pending.extend(reversed([*node.values()]))


def _name(module: Module, node: dict[str, Any]) -> str:
    (inner,) = node.values()
    span = inner["span"]
    return re.sub(r"\s", "", module.source[span["start"] : span["end"]].decode())


def _head(module: Module, name: str) -> dict[str, Any]:
    return next(node for kind, node in module.nodes if kind == "Func" and _name(module, node["refr"]) == name)


def _imported(module: Module) -> set[str]:
    return {match.decode() for match in re.findall(rb"(?m)^\s*import\s+\S*?(\w+)\s*(?:#.*)?$", module.source)} | {
        match.decode() for match in re.findall(rb"(?m)^\s*import\s+\S+\s+as\s+(\w+)", module.source)
    }


def _is_builtin(module: Module, name: str) -> bool:
    return name not in module.functions and name.split(".")[0] not in {"data", *_imported(module)}


def _check_call(module: Module, node: dict[str, Any], *, is_ours: bool) -> None:
    name = _name(module, node["fcn"])
    if not _is_builtin(module, name):
        return
    module.calls.add(name)
    if is_ours:
        return
    if not table.is_available(name):
        raise _refused(module, node, f"{name} is not available to policies: {table.refusal(name)}")
    expected = _operand_count(name)
    if expected is not None and len(node["params"]) != expected:
        raise _refused(module, node, f"{name} takes {expected} operands; write `x := {name}(…)` for its result")


def _operand_count(name: str) -> int | None:
    if ours := table.OURS.get(name) or table.OURS_BEYOND_ASCII.get(name):
        return ours[0]
    if name in table.GUARDED:
        return len(table.GUARDED[name])
    return table.TRIED.get(name) or table.TRIED_ALWAYS.get(name)


def _check_numbers(module: Module) -> None:
    shown = module.calls & _SHOWS_NUMBERS
    for kind, node in module.nodes:
        if kind != "Number":
            continue
        span = node["span"]
        written = module.source[span["start"] : span["end"]].decode()
        digits = re.sub(r"[eE].*|[^0-9]", "", written).strip("0")
        is_whole = re.fullmatch(r"-?[0-9]+", written) is not None
        if (is_whole and abs(int(written)) >= 2**63) or (not is_whole and len(digits) > _MAX_DIGITS):
            raise _refused(module, node, f"the number {written[:40]} has more digits than this engine's numbers")
        if shown and not _CANONICAL.fullmatch(written):
            raise _refused(
                module, node, f"write {written} without exponent and final zeros: {min(shown)} shows them in OPA only"
            )
    both = module.calls & _READS_NUMBERS
    if "json.marshal" in shown and both:
        call = next(
            node for kind, node in module.nodes if kind == "Call" and _name(module, node["fcn"]) == "json.marshal"
        )
        raise _refused(
            module, call, f"json.marshal is not available beside {min(both)}: numbers are written differently"
        )


def _rewrite_call(
    module: Module, node: dict[str, Any], edits: list[Edit], closings: list[Edit], *, exact: bool
) -> None:
    name = _name(module, node["fcn"])
    if not _is_builtin(module, name):
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
        raise _refused(module, node, "this expression is not understood; put brackets and blanks around its operands")
    start, end = extent(module.source, node)
    edits.append(Edit(start=start, end=start, text=opening.encode(), phase=_OPEN))
    edits.append(Edit(start=place, end=place + 1, text=b",", phase=_REPLACE))
    closings.append(Edit(start=end, end=end, text=closing, phase=_CLOSE))


def _refused(module: Module, node: dict[str, Any], message: str) -> PolicyError:
    span = node["span"]
    start = span["start"]
    line = module.source.count(b"\n", 0, start) + 1
    column = len(module.source[module.source.rfind(b"\n", 0, start) + 1 : start].decode(errors="replace")) + 1
    return PolicyError(message, file=module.file, line=line, column=column)
