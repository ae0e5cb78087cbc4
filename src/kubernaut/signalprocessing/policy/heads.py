"""Heads of rules as OPA evaluates them.

OPA takes what a head calculates into the body: `p[k] := f(k) if some k in x` is
`p[k] := v if { some k in x; v := f(k) }`, so that an element whose value is undefined is left out. The engine loses
other elements with it. Where names of one rule are both written and calculated, as in `p.a contains x` beside
`p[k] contains y`, OPA takes them together and the engine does not; the written ones are calculated then. `declarations`
are rules that make an empty object of one that has no element, as it is in OPA.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy.rewrite import Edit, Rewritten, apply, extent
from kubernaut.signalprocessing.policy.syntax import place_of, slice_of

Node = dict[str, Any]
_Names = tuple[str | None, ...]
"""Names behind the first one of a head; None for one that is calculated."""

_PREFIX = b"kubernaut_head_"
_OPAQUE = re.compile(rb'"(?:[^"\\\n]|\\.)*"|`[^`]*`|#[^\n]*')
_COMPREHENSIONS = frozenset({"ArrayCompr", "SetCompr", "ObjectCompr"})
_CALCULATED = frozenset({"RefDot", "RefBrack", "Call", "ArithExpr", "BinExpr", "BoolExpr", "Membership", "UnaryExpr"})
_CLOSE, _OPEN, _REPLACE = range(3)


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A name behind the first one of a head: `.a` or `[k]`."""

    constant: str | None
    """None for one that is calculated."""
    index: Node | None
    """What is between its brackets, if it has some."""
    start: int
    end: int
    """Of what stands for it in the source, without brackets."""


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """A rule that is no function's default."""

    kind: str
    """`Compr` with one value, `Set` with several, `Func` a function."""
    name: str
    parts: tuple[_Part, ...]
    head: Node
    bodies: list[Node]
    end: int


@dataclass(frozen=True, kw_only=True)
class _Moved:
    """What a body has to calculate in place of the head."""

    start: int
    end: int
    name: bytes
    """The variable that stands in the head."""
    text: bytes
    """What it is, in one line."""
    body: int | None
    """The only body that it belongs to; None for all of them."""


def hoisted(file: str, source: bytes, tree: Node) -> Rewritten:
    """The module with what its heads calculate in their bodies. Raises PolicyError where that cannot be done."""
    code = _without_comments(source)
    rules = _rules(source, code, tree)
    calculated = _calculated(rules)
    shared = {"input", "data", *_imported(source, tree), *(rule.name for rule in rules)}
    edits: list[Edit] = []
    count = 0
    for rule in rules:
        moved = []
        for start, end, constant, body in sorted(_to_move(rule, calculated, shared, source), key=lambda each: each[:2]):
            name, count = _PREFIX + b"%d" % count, count + 1
            if constant is None and any(b"\n" in raw for raw in re.findall(rb"`[^`]*`", code[start:end])):
                line, column = place_of(source, start)
                message = "a text of several lines is not available in the head of a rule; make it a rule of its own"
                raise PolicyError(message, file=file, line=line, column=column)
            text = code[start:end].replace(b"\n", b" ") if constant is None else json.dumps(constant).encode()
            moved.append(_Moved(start=start, end=end, name=name, text=text, body=body))
            lines = b"\n" * source.count(b"\n", start, end)
            is_dotted = constant is not None and source[start : start + 1] == b"."
            stand_in = b"[" + name + b"]" if is_dotted else lines + name
            edits.append(Edit(start=start, end=end, text=stand_in, phase=_REPLACE))
        if moved:
            edits += _in_bodies(rule, moved, code)
    return apply(source, edits)


def declarations(source: bytes, tree: Node) -> str:
    """A module of rules that never hold, which tell the engine where objects begin; empty where none are needed."""
    rules = _rules(source, _without_comments(source), tree)
    calculated = _calculated(rules)
    objects: set[tuple[str, ...]] = set()
    created: set[tuple[str, ...]] = set()
    """What the engine makes by itself: empty sets, and objects whose last name is calculated."""
    for rule in rules if any(rule.parts for rule in rules) else ():
        if rule.kind == "Func":
            continue
        path: tuple[str, ...] = (rule.name,)
        for place, part in enumerate(rule.parts):
            objects.add(path)
            if part.constant is None or _is_calculated(calculated, rule, place):
                if rule.kind == "Compr" and place == len(rule.parts) - 1:
                    created.add(path)
                break
            path = (*path, part.constant)
        else:
            created |= {path} if rule.kind == "Set" else set()
    # One inside of another would empty it again.
    paths = objects | created
    inner = {path[:length] for path in paths for length in range(1, len(path))}
    lines = [
        f'{name}{"".join(f"[{json.dumps(part)}]" for part in rest)}["kubernaut"] := 0 if false'
        for name, *rest in sorted(objects - created - inner)
    ]
    (package,) = tree["package"]["refr"].values()
    return "\n".join([f"package {slice_of(source, package)}", "import rego.v1", *lines, ""]) if lines else ""


def _without_comments(source: bytes) -> bytes:
    return _OPAQUE.sub(lambda match: b" " * len(match[0]) if match[0].startswith(b"#") else match[0], source)


def _rules(source: bytes, code: bytes, tree: Node) -> list[_Rule]:
    found = [(kind, node) for each in tree["rules"] for kind, node in each.items()]
    starts = [node["span"]["start"] for _, node in found]
    ends = [len(code[:end].rstrip()) for end in [*starts, len(code)][1:]]
    rules = []
    for (kind, node), end in zip(found, ends, strict=True):
        if kind != "Spec":
            continue
        ((head_kind, head),) = node["head"].items()
        name, parts = _path(source, head["refr"])
        rules.append(_Rule(kind=head_kind, name=name, parts=parts, head=head, bodies=node["bodies"], end=end))
    return rules


def _path(source: bytes, reference: Node) -> tuple[str, tuple[_Part, ...]]:
    parts: list[_Part] = []
    ((kind, node),) = reference.items()
    while kind in ("RefDot", "RefBrack"):
        if kind == "RefDot":
            span, name = node["field"]
            parts.append(_Part(constant=str(name), index=None, start=span["start"] - 1, end=span["end"]))
        else:
            ((index_kind, index),) = node["index"].items()
            constant = str(index["value"]) if index_kind in ("String", "RawString") else None
            start, end = extent(source, index)
            parts.append(_Part(constant=constant, index=node["index"], start=start, end=end))
        ((kind, node),) = node["refr"].items()
    return str(node.get("value", "")), tuple(reversed(parts))


def _imported(source: bytes, tree: Node) -> Iterator[str]:
    for each in tree["imports"]:
        if renamed := each.get("as"):
            yield source[renamed["start"] : renamed["end"]].decode(errors="replace")
        else:
            (reference,) = each["refr"].values()
            yield slice_of(source, reference).split(".")[-1]


def _to_move(
    rule: _Rule, calculated: dict[str, set[_Names]], shared: set[str], source: bytes
) -> Iterator[tuple[int, int, str | None, int | None]]:
    """From where to where, the constant that stands there if it is one, and the body that it belongs to."""
    for place, part in enumerate(rule.parts if rule.kind != "Func" else ()):
        if part.constant is not None:
            if _is_calculated(calculated, rule, place):
                yield part.start, part.end, part.constant, None
        elif part.index and _may_be_undefined(part.index, shared):
            yield part.start, part.end, None, None
    values: list[tuple[Node, int | None]] = []
    if rule.head.get("key"):
        values.append((rule.head["key"], None))
    own = [number for number, body in enumerate(rule.bodies) if not body["assign"]]
    if rule.head.get("assign"):
        values += [(rule.head["assign"]["value"], number) for number in own or (None,)][:1]
    values += [(body["assign"]["value"], number) for number, body in enumerate(rule.bodies) if body["assign"]]
    for value, number in values:
        ((_, node),) = value.items()
        is_sole = not rule.bodies or (number is not None and not rule.bodies[number]["query"]["stmts"])
        if _may_be_undefined(value, shared) and (not is_sole or rule.kind == "Set" or _iterates(value)):
            yield *extent(source, node), None, number


def _calculated(rules: list[_Rule]) -> dict[str, set[_Names]]:
    """By the name of a rule, the names before each one that one of its definitions calculates."""
    found: dict[str, set[_Names]] = {}
    for rule in rules:
        for place, part in enumerate(rule.parts if rule.kind != "Func" else ()):
            if part.constant is None:
                found.setdefault(rule.name, set()).add(tuple(each.constant for each in rule.parts[:place]))
    return found


def _is_calculated(calculated: dict[str, set[_Names]], rule: _Rule, place: int) -> bool:
    """Whether a definition calculates the name that this one has at this place."""
    return any(
        len(before) == place
        and all(
            None in (name, part.constant) or name == part.constant
            for name, part in zip(before, rule.parts, strict=False)
        )
        for before in calculated.get(rule.name, ())
    )


def _outside_comprehensions(expression: Any) -> Iterator[tuple[str, Node]]:
    pending = [expression]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, dict):
            for kind, inner in node.items():
                if kind in _COMPREHENSIONS:
                    continue
                if isinstance(inner, dict) and isinstance(inner.get("span"), dict):
                    yield kind, inner
                pending.append(inner)


def _may_be_undefined(expression: Node, shared: set[str]) -> bool:
    return any(
        kind in _CALCULATED or (kind == "Var" and node["value"] in shared)
        for kind, node in _outside_comprehensions(expression)
    )


def _iterates(expression: Node) -> bool:
    return any(kind == "RefBrack" and "Var" in node["index"] for kind, node in _outside_comprehensions(expression))


def _in_bodies(rule: _Rule, moved: list[_Moved], code: bytes) -> Iterator[Edit]:
    if not rule.bodies:
        yield from _calculations(moved, rule.end, b" if { ", b" }")
        return
    ends = [len(code[: body["span"]["start"]].rstrip()) for body in rule.bodies[1:]] + [rule.end]
    for number, (body, end) in enumerate(zip(rule.bodies, ends, strict=True)):
        own = [each for each in moved if each.body in (None, number)]
        statements, start = body["query"]["stmts"], body["query"]["span"]["start"]
        if not own:
            continue
        if not statements:
            yield from _calculations(own, end, b" if { ", b" }")
        elif statements[0]["span"]["start"] > start and code[start : start + 1] == b"{":
            place = len(code[: end - 1].rstrip())
            yield from _calculations(own, place, b" " if code[place - 1 : place] == b";" else b"; ", b"")
        else:
            yield Edit(start=start, end=start, text=b"{ ", phase=_OPEN)
            yield from _calculations(own, end, b"; ", b" }")


def _calculations(moved: list[_Moved], place: int, before: bytes, after: bytes) -> Iterator[Edit]:
    for each in moved:
        yield Edit(start=place, end=place, text=before + each.name + b" := ", phase=_CLOSE)
        yield Edit(start=place, end=place, text=each.text, phase=_CLOSE, origin=each.start)
        before = b"; "
    yield Edit(start=place, end=place, text=after, phase=_CLOSE)
