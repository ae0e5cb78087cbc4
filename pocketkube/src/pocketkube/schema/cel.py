"""CEL rules of a schema: x-kubernetes-validations.

Values reach CEL as the schema sees them: a `number` is a double also when JSON wrote an integer, a
date-time is a timestamp, and only declared fields exist.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from pocketkube.schema.cel_expressions import cel_library, compile_expression
from pocketkube.schema.structural import Node
from pocketkube.schema.validation import item_key
from pocketkube.status import Cause, shown

_MISSING: Any = object()
_WORDS = "true false null in as break const continue else for function if import let loop package namespace return var"
_RESERVED = frozenset([*_WORDS.split(), "void", "while"])
_UNIT = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_OLD = re.compile(r"\boldSelf\b")


def has_rules(node: Node, seen: set[int] | None = None) -> bool:
    """Tell whether there is any rule below."""
    seen = set() if seen is None else seen
    if id(node) in seen:
        return False
    seen.add(id(node))
    children = [*node.properties.values(), node.items, node.additional]
    return bool(node.rules) or any(child is not None and has_rules(child, seen) for child in children)


class RuleTree:
    """The rules of a schema, with the branches that have none cut off."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.rules = [_Rule(rule) for rule in node.rules]
        self.properties = {name: RuleTree(child) for name, child in node.properties.items() if has_rules(child)}
        self.items = RuleTree(node.items) if node.items is not None and has_rules(node.items) else None
        self.additional = (
            RuleTree(node.additional) if node.additional is not None and has_rules(node.additional) else None
        )

    def violations(self, value: Any, old: Any, path: str) -> Iterator[Cause]:
        """Yield the rules that a value breaks; `old` is what stood there before, if anything."""
        unchanged = old is not _MISSING and value == old
        for rule in self.rules:
            if unchanged and not rule.compares:
                continue
            if rule.compares and old is _MISSING and not rule.old_is_optional:
                continue
            yield from rule.check(self.node, value, old, path)
        if isinstance(value, dict):
            yield from self._in_object(value, old if isinstance(old, dict) else {}, path)
        elif isinstance(value, list) and self.items is not None:
            before = _keyed(self.node, old)
            for index, item in enumerate(value):
                was = before.get(item_key(self.node, item), _MISSING) if before else _MISSING
                yield from self.items.violations(item, was, f"{path}[{index}]")

    def _in_object(self, value: dict[str, Any], old: dict[str, Any], path: str) -> Iterator[Cause]:
        for name, tree in self.properties.items():
            if name in value:
                below = f"{path}.{name}" if path else name
                yield from tree.violations(value[name], old.get(name, _MISSING), below)
        if self.additional is not None:
            for name, item in value.items():
                if name not in self.node.properties:
                    yield from self.additional.violations(item, old.get(name, _MISSING), f"{path}[{name}]")


def _keyed(node: Node, old: Any) -> dict[Any, Any]:
    if not isinstance(old, list) or node.list_type != "map":
        return {}
    return {item_key(node, item): item for item in old}


def rule_violations(tree: RuleTree, value: Mapping[str, Any], old: Mapping[str, Any] | None) -> list[Cause]:
    """Return the rules that a whole object breaks."""
    return list(tree.violations(value, _MISSING if old is None else old, ""))


class _Rule:
    """One rule with what it says when it is broken."""

    def __init__(self, rule: Mapping[str, Any]) -> None:
        self.source: str = rule["rule"]
        self.compares = _OLD.search(self.source) is not None
        self.old_is_optional = bool(rule.get("optionalOldSelf"))
        self._message: str = rule.get("message", "")
        self._message_expression: str = rule.get("messageExpression", "")
        self._reason: str = rule.get("reason", "FieldValueInvalid")
        self._field: str = rule.get("fieldPath", "")

    def check(self, node: Node, value: Any, old: Any, path: str) -> Iterator[Cause]:
        # The commonest transition rule needs no CEL.
        if self.source == "self == oldSelf" and old is not _MISSING:
            if value != old:
                yield self._broken(node, value, {}, path)
            return
        variables: dict[str, Any] = {"self": _to_cel(node, value)}
        if self.old_is_optional:
            optional = cel_library().OptionalValue
            variables["oldSelf"] = optional.none() if old is _MISSING else optional.of(_to_cel(node, old))
        elif old is not _MISSING:
            variables["oldSelf"] = _to_cel(node, old)
        try:
            holds = compile_expression(self.source).evaluate(variables)
        except Exception as error:  # noqa: BLE001 - whatever a rule of a stranger does is its own failure
            yield self._failed(node, value, error, path)
            return
        if holds is not True:
            yield self._broken(node, value, variables, path)

    def _failed(self, node: Node, value: Any, error: Exception, path: str) -> Cause:
        why = f"no such key: {error.args[0]}" if isinstance(error, KeyError) else str(error)
        name = self._message or self.source
        kind = node.type or "object"
        message = f'Invalid value: "{kind}": {why} evaluating rule: {name}'
        return ("FieldValueInvalid", message, path or "<nil>")

    def _broken(self, node: Node, value: Any, variables: dict[str, Any], path: str) -> Cause:
        text = self._text(variables)
        field = path + (self._field if path else self._field.removeprefix("."))
        if self._reason == "FieldValueRequired":
            message = f"Required value: {text}"
        elif self._reason == "FieldValueForbidden":
            message = f"Forbidden: {text}"
        elif self._reason == "FieldValueDuplicate":
            message = f"Duplicate value: {shown(value)}"
        elif isinstance(value, (dict, list)):
            message = f"Invalid value: {text}"
        else:
            message = f"Invalid value: {shown(value)}: {text}"
        return (self._reason, message, field or "<nil>")

    def _text(self, variables: dict[str, Any]) -> str:
        if self._message_expression:
            try:
                text = compile_expression(self._message_expression).evaluate(variables)
            except Exception:  # noqa: BLE001 - the plain message is there for this
                text = None
            if isinstance(text, str) and text.strip():
                return text
        return self._message or f"failed rule: {self.source}"


def _to_cel(node: Node, value: Any) -> Any:
    if isinstance(value, dict):
        return _object_to_cel(node, value)
    if isinstance(value, list):
        return value if node.items is None else [_to_cel(node.items, item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and node.type == "number":
        return float(value)
    if isinstance(value, str) and node.format in {"date-time", "duration", "date"}:
        return _time(node.format, value)
    return value


def _object_to_cel(node: Node, value: dict[str, Any]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for name, item in value.items():
        child = node.properties.get(name)
        if child is not None:
            seen[_escaped(name)] = _to_cel(child, item)
        elif node.additional is not None:
            seen[name] = _to_cel(node.additional, item)
        elif (node.embedded and name in {"apiVersion", "kind", "metadata"}) or (
            node.preserves_unknown and not node.properties
        ):
            seen[name] = item
    return seen


def _escaped(name: str) -> str:
    if name in _RESERVED:
        return f"__{name}__"
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) and "__" not in name:
        return name
    escapes = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
    return re.sub(r"__|[./-]", lambda match: escapes[match.group()], name)


def _time(kind: str, text: str) -> Any:
    try:
        if kind == "duration":
            parts = re.findall(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)", text)
            seconds = sum(float(amount) * _UNIT[unit] for amount, unit in parts)
            return timedelta(seconds=-seconds if text.startswith("-") else seconds)
        return datetime.fromisoformat(text if kind == "date-time" else f"{text}T00:00:00+00:00")
    except ValueError:
        return text
