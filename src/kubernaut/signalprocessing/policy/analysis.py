"""What the engine would answer otherwise than OPA: every place of a policy that is refused for it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from kubernaut.signalprocessing.policy import fractions
from kubernaut.signalprocessing.policy.builtins import table
from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy.ordering import Origins
from kubernaut.signalprocessing.policy.patterns import object_patterns, rule_names
from kubernaut.signalprocessing.policy.syntax import slice_of

_CANONICAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]*[1-9])?")
_SHOWS_NUMBERS = frozenset({"sprintf", "json.marshal"})
_READS_NUMBERS = frozenset({"to_number", "json.unmarshal"})
_DECODES = frozenset({"base64.decode", "base64url.decode", "hex.decode", "urlquery.decode", "json.unmarshal"})
_MAX_DIGITS = 15
_ORDERS = frozenset({"Lt", "Le", "Gt", "Ge"})
_SETS = frozenset({"Set", "SetCompr", "BinExpr"})
_TEXT_ONLY = frozenset({"base64.is_valid", "json.is_valid", "net.cidr_is_valid", "regex.is_valid"})
"""Builtins that are false for what is no text, of which OPA refuses to compile some."""


@dataclass(kw_only=True)
class Module:
    """What one file of a policy uses; made by `analyse`."""

    file: str
    source: bytes
    nodes: list[tuple[str, dict[str, Any]]]
    functions: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)
    is_ascii: bool = True
    may_have_fractions: bool = False
    """Whether numbers may arise in it, or come from other modules, that are no doubles; see `fractions`."""

    origins: Origins

    tree: dict[str, Any]
    """The syntax tree that the nodes are of."""

    rules: frozenset[str]
    """The first names of its rules."""


def analyse(file: str, text: str, tree: dict[str, Any], *, is_ours: bool = False) -> Module:
    """What the module uses. Raises PolicyError where that cannot be made equal to OPA."""
    module = module_of(file, text, tree)
    for error in differences(module, is_ours=is_ours):
        raise error
    is_open = any(name_of(module, {kind: node}).startswith("data.") for kind, node in module.nodes if kind == "RefDot")
    calculates = any(kind == "ArithExpr" for kind, _ in module.nodes) or bool(module.calls & fractions.MAKES)
    module.may_have_fractions = not is_ours and (calculates or is_open or bool(_imported(module.source)))
    return module


def module_of(file: str, text: str, tree: dict[str, Any]) -> Module:
    """The module before anything is known of what it uses."""
    source, found = text.encode(), [*nodes_of(tree)]
    arities: dict[str, int] = {}
    for kind, node in found:
        if kind == "Func":
            arities[slice_of(source, *node["refr"].values())] = len(node["args"])
    origins = Origins(tree, source, tuple(_imported(source)), arities)
    return Module(file=file, source=source, nodes=found, origins=origins, tree=tree, rules=rule_names(tree))


def differences(module: Module, *, is_ours: bool) -> Iterator[PolicyError]:
    """Every place that cannot be made equal to OPA; fills in what the module uses."""
    module.functions = {name_of(module, node["refr"]) for kind, node in module.nodes if kind == "Func"}
    for name in module.functions:
        if table.is_available(name):
            yield refused(module, _head(module, name), f"a function must not have the name of the builtin {name}")
    for kind, node in module.nodes:
        if kind == "Call":
            yield from _check_call(module, node, is_ours=is_ours)
        elif kind == "With":
            root = name_of(module, node["refr"]).split(".")[0].split("[")[0]
            if root not in ("input", "data"):
                yield refused(module, node, "`with` may replace parts of input and data only")
        elif kind in ("String", "RawString"):
            module.is_ascii = module.is_ascii and str(node.get("value", "")).isascii()
        elif (
            kind == "BoolExpr"
            and node["op"] in _ORDERS
            and any(side in _SETS for operand in (node["lhs"], node["rhs"]) for side in operand)
        ):
            yield refused(module, node, "sets are not available to < <= > >=: OPA orders them otherwise beside objects")
        elif kind == "UnaryExpr":
            yield refused(module, node, "write 0 - x for the negative of x")
    for node in object_patterns(module.tree, frozenset(_imported(module.source))):
        text = "objects in patterns match only objects of exactly these keys in OPA, and others too in this engine"
        yield refused(module, node, f"{text}; write `some x in …; x.key == …` instead")
    yield from _check_numbers(module)
    yield from _check_sets(module)


def needs_exact(modules: list[Module]) -> bool:
    """Whether texts beyond ASCII can come from the policy itself."""
    return any(not module.is_ascii or module.calls & _DECODES for module in modules)


def nodes_of(tree: Any) -> Iterator[tuple[str, dict[str, Any]]]:
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


def name_of(module: Module, node: dict[str, Any]) -> str:
    (inner,) = node.values()
    span = inner["span"]
    return re.sub(r"\s", "", module.source[span["start"] : span["end"]].decode())


def _head(module: Module, name: str) -> dict[str, Any]:
    return next(node for kind, node in module.nodes if kind == "Func" and name_of(module, node["refr"]) == name)


def _imported(source: bytes) -> set[str]:
    return {match.decode() for match in re.findall(rb"(?m)^\s*import\s+\S*?(\w+)\s*(?:#.*)?$", source)} | {
        match.decode() for match in re.findall(rb"(?m)^\s*import\s+\S+\s+as\s+(\w+)", source)
    }


def is_builtin(module: Module, name: str) -> bool:
    return name not in module.functions and name.split(".")[0] not in {"data", *_imported(module.source)}


def _check_call(module: Module, node: dict[str, Any], *, is_ours: bool) -> Iterator[PolicyError]:
    name = name_of(module, node["fcn"])
    if not is_builtin(module, name):
        return
    if "." in name and name.split(".")[0] in module.rules:
        yield refused(module, node, f"the rule {name.split('.')[0]} hides {name}; give the rule another name")
    module.calls.add(name)
    if is_ours:
        return
    if not table.is_available(name):
        yield refused(module, node, f"{name} is not available to policies: {table.refusal(name)}")
        return
    if name in _TEXT_ONLY and node["params"] and not _may_be_text(node["params"][0]):
        yield refused(module, node, f"{name} takes a text")
    if (
        name in table.TRIED_ALWAYS
        and node["params"]
        and len(node["params"][0].get("Array", {}).get("items", "tz")) != 2
    ):
        yield refused(module, node, f"{name} takes a time or an array of a time and a zone")
    if name == "walk" and len(node["params"]) != 2:
        yield refused(module, node, "write walk(x, [path, value]): this engine has no other form of it")
    expected = _operand_count(name)
    if expected is not None and len(node["params"]) != expected:
        yield refused(module, node, f"{name} takes {expected} operands; write `x := {name}(…)` for its result")


def _may_be_text(operand: dict[str, Any]) -> bool:
    ((kind, _),) = operand.items()
    return kind in ("String", "RawString", "Var", "RefDot", "RefBrack", "Call")


def _operand_count(name: str) -> int | None:
    if ours := table.OURS.get(name) or table.OURS_BEYOND_ASCII.get(name):
        return ours[0]
    if name in table.GUARDED:
        return len(table.GUARDED[name])
    return table.TRIED.get(name) or table.TRIED_ALWAYS.get(name)


def _check_sets(module: Module) -> Iterator[PolicyError]:
    """Sets whose elements are sets, beside sets whose elements are objects: a mixture has another order in OPA."""
    places: dict[str, dict[str, Any]] = {}
    for kind, node in module.nodes:
        elements = node.get("items", []) if kind == "Set" else [node.get("term")] if kind == "SetCompr" else []
        if kind == "Set" and node.get("key"):  # a rule that contains
            elements = [node["key"]]
        for element in elements:
            for inner in element or {}:
                places.setdefault("set" if inner in ("Set", "SetCompr") else inner, node)
    if "set" in places and ("Object" in places or "ObjectCompr" in places):
        text = "sets of sets are not available beside sets of objects: OPA orders them otherwise; use arrays"
        yield refused(module, places["set"], text)


def _call_of(module: Module, name: str) -> dict[str, Any]:
    return next(node for kind, node in module.nodes if kind == "Call" and name_of(module, node["fcn"]) == name)


def _check_numbers(module: Module) -> Iterator[PolicyError]:
    shown = module.calls & _SHOWS_NUMBERS
    for kind, node in module.nodes:
        if kind != "Number":
            continue
        span = node["span"]
        written = module.source[span["start"] : span["end"]].decode()
        digits = re.sub(r"[eE].*|[^0-9]", "", written).strip("0")
        is_whole = re.fullmatch(r"-?[0-9]+", written) is not None
        if (is_whole and abs(int(written)) >= 2**63) or (not is_whole and len(digits) > _MAX_DIGITS):
            yield refused(module, node, f"the number {written[:40]} has more digits than this engine's numbers")
        if shown and not _CANONICAL.fullmatch(written):
            yield refused(
                module, node, f"write {written} without exponent and final zeros: {min(shown)} shows them in OPA only"
            )
    if shown and "units.parse" in module.calls:
        text = f"units.parse is not available beside {min(shown)}: fractions of it are written with ten digits in OPA"
        yield refused(module, _call_of(module, "units.parse"), text)
    both = module.calls & _READS_NUMBERS
    if "json.marshal" in shown and both:
        yield refused(
            module,
            _call_of(module, "json.marshal"),
            f"json.marshal is not available beside {min(both)}: numbers are written differently",
        )


def refused(module: Module, node: dict[str, Any], message: str) -> PolicyError:
    span = node["span"]
    start = span["start"]
    line = module.source.count(b"\n", 0, start) + 1
    column = len(module.source[module.source.rfind(b"\n", 0, start) + 1 : start].decode(errors="replace")) + 1
    return PolicyError(message, file=module.file, line=line, column=column)
