"""What a policy consists of: its definitions, their statements, and what each of them reads.

A rule such as `priority` may have several definitions: a `default`, bodies beside each other, and branches of `else`.
The outline is made in the policy process, because only there a parser may meet a policy.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

MAX_TEXT_CHARS = 200
"""Characters of a statement that are shown."""

_COMMENT = re.compile(r'("(?:[^"\\\n]|\\.)*"|`[^`]*`)|#[^\n]*')


class Reads(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What an expression refers to."""

    inputs: list[tuple[str, ...]] = []
    """Paths below `input`, as far as they are constant."""

    rules: list[tuple[str, str]] = []
    """Package and name of other rules, functions included."""

    constants: list[str] = []
    """Texts and numbers."""


class Statement(msgspec.Struct, kw_only=True):
    """One statement of a body."""

    line: int
    text: str
    reads: Reads
    start: int
    """Where it begins, in bytes of the file."""


class Definition(msgspec.Struct, kw_only=True):
    """One definition of a rule."""

    package: str
    rule: str
    file: str
    line: int
    text: str
    """Its head on one line."""

    chain: int
    """The same for the branches of one `else`; the first that holds decides."""

    reads: Reads
    """What its value refers to."""

    head: tuple[int, int] = (0, 0)
    """The bytes behind the rule's name up to the body."""

    query: tuple[int, int] | None = None
    """The bytes of the body, without `if`."""

    statements: list[Statement] = []
    is_default: bool = False
    is_function: bool = False
    is_partial: bool = False
    """One of several that each add to a set or an object."""


@dataclass(kw_only=True)
class _File:
    name: str
    source: bytes
    package: str
    aliases: dict[str, tuple[str, ...]]
    """Imported names with the paths that they stand for."""

    rules: set[str] = field(default_factory=set)

    def line(self, start: int) -> int:
        return self.source.count(b"\n", 0, start) + 1

    def text(self, start: int, end: int) -> str:
        """One line without comments, cut where it is too long."""
        code = _COMMENT.sub(lambda found: found[1] or "", self.source[start:end].decode(errors="replace"))
        text = " ".join(code.split())
        return text if len(text) <= MAX_TEXT_CHARS else text[: MAX_TEXT_CHARS - 1] + "…"

    def begin(self, node: dict[str, Any]) -> int:
        """Where a node begins; the parser leaves the first quote out."""
        start: int = node["span"]["start"]
        return start - (self.source[start - 1 : start] in (b'"', b"`"))


def outline(file: str, text: str, tree: dict[str, Any]) -> list[Definition]:
    """The definitions of one module in the order of the file."""
    source = text.encode()
    module = _File(name=file, source=source, package=".".join(_path(tree["package"]["refr"])), aliases={})
    for imported in tree["imports"]:
        path = _path(imported["refr"])
        alias = imported.get("as")
        name = source[alias["start"] : alias["end"]].decode() if alias else path[-1]
        if path[0] in ("input", "data"):
            module.aliases[name] = path
    rules = [(kind, rule) for each in tree["rules"] for kind, rule in each.items()]
    module.rules = {_name(kind, rule) for kind, rule in rules}
    ends = [*(rule["span"]["start"] for _, rule in rules[1:]), len(source)]
    found: list[Definition] = []
    for chain, ((kind, rule), end) in enumerate(zip(rules, ends, strict=True)):
        found += _definitions(module, chain, kind, rule, end)
    return found


def _definitions(module: _File, chain: int, kind: str, rule: dict[str, Any], end: int) -> Iterator[Definition]:
    name, start = _name(kind, rule), rule["span"]["start"]
    if kind == "Default":
        value = rule["refr"]["Var"]["span"]["end"] if "Var" in rule["refr"] else start
        yield _definition(module, chain, name, start, (value, end), rule["value"], is_default=True)
        return
    ((head_kind, head),) = rule["head"].items()
    bodies = rule["bodies"]
    starts = [*(body["span"]["start"] for body in bodies), end]
    base = _base(head["refr"])
    is_partial = head_kind == "Set" or (head_kind == "Compr" and "Var" not in head["refr"])
    found = _definition(module, chain, name, start, (base["span"]["end"], starts[0]), head, is_partial=is_partial)
    found.is_function = head_kind == "Func"
    for place, body in enumerate(bodies):
        if place:
            after = body["span"]["start"] + len("else")
            query = body["query"]["span"]["start"]
            stop = _keyword(module.source, after, query) if body["query"]["stmts"] else starts[place + 1]
            found = _definition(module, chain, name, body["span"]["start"], (after, stop), body.get("assign") or {})
        found.is_function = head_kind == "Func"
        if body["query"]["stmts"]:
            _add_body(module, found, body["query"], starts[place + 1])
        yield found
    if not bodies:
        yield found


def _definition(
    module: _File,
    chain: int,
    rule: str,
    start: int,
    head: tuple[int, int],
    value: dict[str, Any],
    *,
    is_default: bool = False,
    is_partial: bool = False,
) -> Definition:
    return Definition(
        package=module.package,
        rule=rule,
        file=module.name,
        line=module.line(start),
        text=module.text(start, head[1]),
        chain=chain,
        reads=_reads(module, value, {}),
        head=head,
        is_default=is_default,
        is_partial=is_partial,
    )


def _add_body(module: _File, found: Definition, query: dict[str, Any], end: int) -> None:
    begin = module.begin(query)
    found.query = (begin, end)
    locals_: dict[str, tuple[str, ...]] = {}
    statements = query["stmts"]
    closing = module.source.rfind(b"}", begin, end) if module.source[begin : begin + 1] == b"{" else end
    starts = [*(module.begin(statement) for statement in statements), max(closing, begin)]
    for statement, start, stop in zip(statements, starts, starts[1:], strict=False):
        _learn(module, statement, locals_)
        text = module.text(start, stop).rstrip(";")
        reads = _reads(module, statement, locals_)
        found.statements.append(Statement(line=module.line(start), text=text, reads=reads, start=start))
    found.reads = _with_locals(module, found.reads, locals_)


def _learn(module: _File, statement: dict[str, Any], known: dict[str, tuple[str, ...]]) -> None:
    """Remember `x := input.a.b`, so that `x.c` is known as `input.a.b.c`."""
    assigned = ((statement.get("literal") or {}).get("Expr") or {}).get("expr", {}).get("AssignExpr")
    if assigned is None or "Var" not in assigned["lhs"]:
        return
    path = _resolved(module, _reference(assigned["rhs"]), known)
    if path and path[0] == "input":
        known[assigned["lhs"]["Var"]["value"]] = path


def _with_locals(module: _File, reads: Reads, known: dict[str, tuple[str, ...]]) -> Reads:
    found = [known[name] for _, name in reads.rules if name in known]
    return msgspec.structs.replace(reads, inputs=_unique([*reads.inputs, *(path[1:] for path in found)]))


def _keyword(source: bytes, start: int, end: int) -> int:
    """Where `if` stands before a body, or the body itself."""
    place = source.rfind(b"if", start, end)
    return place if place >= 0 and not source[place + 2 : end].strip() else end


def _name(kind: str, rule: dict[str, Any]) -> str:
    if kind == "Default":
        return str(_base(rule["refr"])["value"])
    ((_, head),) = rule["head"].items()
    return str(_base(head["refr"])["value"])


def _base(node: dict[str, Any]) -> dict[str, Any]:
    """The variable that a reference begins with."""
    ((kind, inner),) = node.items()
    while kind in ("RefDot", "RefBrack"):
        ((kind, inner),) = inner["refr"].items()
    found: dict[str, Any] = inner
    return found


def _path(node: dict[str, Any]) -> tuple[str, ...]:
    return tuple(part for part in _reference(node) if part is not None)


def _reference(node: dict[str, Any]) -> tuple[str | None, ...]:
    """`input.a["b"][c]` in parts, None for one that is not constant; empty for what is no reference.

    `object.get(input.a, "b", …)` is `input.a.b`.
    """
    ((kind, inner),) = node.items()
    parts: list[str | None] = []
    while kind in ("RefDot", "RefBrack"):
        if kind == "RefDot":
            parts.append(str(inner["field"][1]))
        else:
            ((index, selected),) = inner["index"].items()
            parts.append(str(selected["value"]) if index in ("String", "RawString") else None)
        ((kind, inner),) = inner["refr"].items()
    if kind == "Var":
        return (str(inner["value"]), *reversed(parts))
    if kind == "Call" and _reference(inner["fcn"]) == ("object", "get") and len(inner["params"]) > 1:
        keys = _keys(inner["params"][1])
        base = _reference(inner["params"][0])
        return (*base, *keys, *reversed(parts)) if base and keys else ()
    return ()


def _keys(node: dict[str, Any]) -> tuple[str, ...]:
    ((kind, inner),) = node.items()
    if kind in ("String", "RawString"):
        return (str(inner["value"]),)
    items = inner["items"] if kind == "Array" else []
    return tuple(key for item in items for key in _keys(item))


def _resolved(module: _File, reference: tuple[str | None, ...], known: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The constant part of a reference, with imports and local names replaced."""
    constant: list[str] = []
    for part in reference:
        if part is None:
            break
        constant.append(part)
    if not constant:
        return ()
    stands_for = known.get(constant[0]) or module.aliases.get(constant[0]) or (constant[0],)
    return (*stands_for, *constant[1:])


def _reads(module: _File, tree: Any, known: dict[str, tuple[str, ...]]) -> Reads:
    reads = Reads()
    for kind, inner in _outer_nodes(tree):
        if kind in ("String", "RawString", "Number"):
            reads.constants.append(str(inner["value"]))
            continue
        path = _resolved(module, _reference({kind: inner}), known)
        if not path:
            continue
        if path[0] == "input":
            reads.inputs.append(path[1:])
        elif path[0] == "data":
            package = tuple(module.package.split("."))
            if path[1 : len(package) + 1] == package and len(path) > len(package) + 1:
                reads.rules.append((module.package, path[len(package) + 1]))
            elif len(path) > 2:
                reads.rules.append((".".join(path[1:-1]), path[-1]))
        elif path[0] in module.rules:
            reads.rules.append((module.package, path[0]))
        else:
            reads.rules.append(("", path[0]))
    return Reads(inputs=_unique(reads.inputs), rules=_unique(reads.rules), constants=_unique(reads.constants))


def _outer_nodes(tree: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """References, each as a whole, with what selects its parts; and constants."""
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, dict):
            for kind, inner in node.items():
                if kind in ("RefDot", "RefBrack", "Var", "Call") and _reference({kind: inner}):
                    yield kind, inner
                    pending.extend(_selectors(kind, inner))
                elif kind in ("String", "RawString", "Number") and "value" in inner:
                    yield kind, inner
                elif kind != "span":
                    pending.append(inner)


def _selectors(kind: str, inner: dict[str, Any]) -> Iterator[Any]:
    """What stands in the brackets of a reference, and the further operands of `object.get`."""
    while kind in ("RefDot", "RefBrack"):
        if kind == "RefBrack":
            ((index, _),) = inner["index"].items()
            if index not in ("String", "RawString"):
                yield inner["index"]
        ((kind, inner),) = inner["refr"].items()
    if kind == "Call":
        yield from inner["params"][2:]


def _unique(items: list[Any]) -> list[Any]:
    return list(dict.fromkeys(items))
