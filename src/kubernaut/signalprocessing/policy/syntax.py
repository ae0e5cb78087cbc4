"""What the text of a policy says without being evaluated: its package, its rules, and what each of them reads."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule as it is written; rules of one name may be written several times."""

    name: str
    file: str
    line: int
    column: int
    is_default: bool
    is_function: bool
    tree: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Syntax:
    """One module."""

    file: str
    source: bytes
    package: str
    imports: tuple[str, ...]
    """Paths below `data` and `input` that are imported."""
    aliases: tuple[str, ...]
    """The names under which they are known."""
    rules: tuple[Rule, ...]

    @property
    def is_test(self) -> bool:
        return self.file.endswith("_test.rego")


MAX_FILE_BYTES = 4 * 1024 * 1024
_TAB = 4
MAX_COLUMNS = 20_000
"""Of a policy as it is written; what is made of it may have longer lines."""


def parse(file: str, text: str, *, max_columns: int = MAX_COLUMNS) -> dict[str, Any]:
    """The syntax tree of one module, as the engine makes it. Raises the engine's error."""
    import regorus  # type: ignore[import-untyped]  # no stubs; imported here because only one engine is loaded

    parser = regorus.Engine()
    parser.set_policy_length_config(max_col=max_columns, max_file_bytes=MAX_FILE_BYTES, max_lines=50_000)
    parser.add_policy(file, text)
    (parsed,) = msgspec.json.decode(parser.get_ast_as_json())
    tree: dict[str, Any] = parsed["ast"]
    return tree


def column_of(text: str, line: int, column: int) -> int:
    """A column of the engine, which counts a tab as four, in characters."""
    reached = place = 1
    for sign in text.split("\n")[line - 1]:
        if reached >= column:
            break
        reached += _TAB if sign == "\t" else 1
        place += 1
    return place


def syntax_of(file: str, text: str, tree: dict[str, Any]) -> Syntax:
    """The package, imports and rules of a module."""
    source = text.encode()
    imported = [(slice_of(source, _inner(each["refr"])), each) for each in tree["imports"]]
    imported = [(path, each) for path, each in imported if path.split(".")[0] in ("data", "input")]
    return Syntax(
        file=file,
        source=source,
        package=slice_of(source, _inner(tree["package"]["refr"])),
        imports=tuple(path for path, _ in imported),
        aliases=tuple(_alias(source, each) for _, each in imported),
        rules=tuple(_rule(file, source, kind, rule) for each in tree["rules"] for kind, rule in each.items()),
    )


def nodes(tree: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node with its kind, outer ones first."""
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(reversed(node))
        elif isinstance(node, dict):
            for kind, inner in node.items():
                if isinstance(inner, dict) and isinstance(inner.get("span"), dict):
                    yield kind, inner
            pending.extend(reversed([*node.values()]))


def path_of(kind: str, node: dict[str, Any]) -> tuple[str | None, ...]:
    """`input.a["b"][c]` as its parts, None for one that is not constant; empty for what is no reference."""
    parts: list[str | None] = []
    while kind in ("RefDot", "RefBrack"):
        if kind == "RefDot":
            parts.append(str(node["field"][1]))
        else:
            ((index, selected),) = node["index"].items()
            parts.append(str(selected["value"]) if index in ("String", "RawString") else None)
        ((kind, node),) = node["refr"].items()
    return (str(node["value"]), *reversed(parts)) if kind == "Var" else ()


def references(tree: Any) -> Iterator[tuple[tuple[str | None, ...], dict[str, Any]]]:
    """Every longest reference with the node that begins it, such as `input.namespace.labels["team"]`."""
    inner: set[int] = set()
    for kind, node in nodes(tree):
        if kind in ("RefDot", "RefBrack"):
            ((_, base),) = node["refr"].items()
            inner.add(id(base))
        if kind in ("RefDot", "RefBrack", "Var") and id(node) not in inner and (path := path_of(kind, node)):
            yield path, start_of(kind, node)


def start_of(kind: str, node: dict[str, Any]) -> dict[str, Any]:
    """The first variable of a reference; the node itself where it is one."""
    while kind in ("RefDot", "RefBrack"):
        ((kind, node),) = node["refr"].items()
    return node


def slice_of(source: bytes, node: dict[str, Any]) -> str:
    span = node["span"]
    return re.sub(r"\s", "", source[span["start"] : span["end"]].decode(errors="replace"))


def place_of(source: bytes, offset: int) -> tuple[int, int]:
    """Line and column of an offset in bytes; both begin at 1, columns count characters."""
    start = source.rfind(b"\n", 0, offset) + 1
    return source.count(b"\n", 0, offset) + 1, len(source[start:offset].decode(errors="replace")) + 1


def _inner(node: dict[str, Any]) -> dict[str, Any]:
    (inner,) = node.values()
    return dict(inner)


def _alias(source: bytes, imported: dict[str, Any]) -> str:
    if renamed := imported.get("as"):
        return source[renamed["start"] : renamed["end"]].decode(errors="replace")
    return slice_of(source, _inner(imported["refr"])).split(".")[-1]


def _rule(file: str, source: bytes, kind: str, rule: dict[str, Any]) -> Rule:
    head = rule if kind == "Default" else _inner(rule["head"])
    ((reference, named),) = head["refr"].items()
    path = path_of(reference, named)
    line, column = place_of(source, rule["span"]["start"])
    return Rule(
        name=path[0] or "",
        file=file,
        line=line,
        column=column,
        is_default=kind == "Default",
        is_function="Func" in rule.get("head", {}),
        tree=rule,
    )
