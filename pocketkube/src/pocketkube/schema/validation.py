"""Whether a value is what its schema says, in the words of the real server.

A value that an update leaves alone is not looked at again: rules may have become stricter since it
was written, and its owner shall still be able to change the rest.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from pocketkube.schema.structural import Node
from pocketkube.status import Cause, invalid_value, required, shown, unsupported_value

RULES_NOT_CHECKED: Cause = (
    "FieldValueInvalid",
    (
        "Invalid value: null: some validation rules were not checked because the object was invalid;"
        " correct the existing errors to complete validation"
    ),
    "<nil>",
)
_BLOCKING = frozenset(
    {"FieldValueRequired", "FieldValueTypeInvalid", "FieldValueNotSupported", "FieldValueTooLong", "FieldValueTooMany"}
)
_MISSING: Any = object()


def violations(node: Node, value: Mapping[str, Any], old: Mapping[str, Any] | None) -> list[Cause]:
    """Return which rules of the schema the object breaks, without what it already broke before."""
    found: list[Cause] = [required(name) for name in node.required if name not in value]
    for name, child in node.properties.items():
        if name in value and name not in {"apiVersion", "kind", "metadata"}:
            before = old.get(name, _MISSING) if old is not None else _MISSING
            found.extend(_check(child, value[name], before, name))
    found.extend(_branches(node, value, ""))
    return found


def violations_of(node: Node, value: Any, path: str) -> list[Cause]:
    """Return which rules a value at a path breaks."""
    return list(_check(node, value, _MISSING, path))


def prevents_rules(found: list[Cause]) -> bool:
    """Tell whether values are so wrong that rules about them make no sense."""
    return any(cause[0] in _BLOCKING for cause in found)


def _check(node: Node, value: Any, old: Any, path: str) -> Iterator[Cause]:
    if old is not _MISSING and value == old:
        return
    if value is None:
        if not node.nullable and (node.type or node.int_or_string):
            yield _wrong_type(node, "null", path)
        return
    if not _fits(node, value):
        yield _wrong_type(node, _type_name(value, node), path)
        return
    if node.checks:
        yield from _bounds(node, value, path)
    if node.format == "int32" and isinstance(value, int) and not -(2**31) <= value < 2**31:
        yield _nowhere(f"Checked value must be of type integer with format int32 in {path}")
    if node.format and isinstance(value, str) and not _well_formed(node.format, value):
        yield (
            "FieldValueTypeInvalid",
            f"Invalid value: {shown(value)}: {path} in body must be of type {node.format}: {shown(value)}",
            path,
        )
    if isinstance(value, dict):
        yield from _check_object(node, value, old, path)
    elif isinstance(value, list):
        yield from _check_list(node, value, old, path)
    if node.branches:
        yield from _branches(node, value, path)


def _bounds(node: Node, value: Any, path: str) -> Iterator[Cause]:
    for name, bound in node.checks.items():
        causes = list(_CHECK[name](value, bound, path, node))
        yield from causes
        if causes and isinstance(value, str) and name != "enum":
            # Of length and pattern only the first is reported.
            return


def _check_object(node: Node, value: dict[str, Any], old: Any, path: str) -> Iterator[Cause]:
    before = old if isinstance(old, dict) else {}
    for name in node.required:
        if name not in value:
            yield required(f"{path}.{name}" if path else name)
    properties, additional = node.properties, node.additional
    for name, item in value.items():
        child = properties.get(name) or additional
        if child is not None:
            yield from _check(child, item, before.get(name, _MISSING), f"{path}.{name}" if path else name)
    if node.embedded:
        for name in ("apiVersion", "kind"):
            if not value.get(name):
                yield required(f"{path}.{name}", "must not be empty")


def _check_list(node: Node, value: list[Any], old: Any, path: str) -> Iterator[Cause]:
    if node.items is None:
        return
    before = _keyed(node, old)
    for index, item in enumerate(value):
        yield from _check(node.items, item, before.get(item_key(node, item), _MISSING), f"{path}[{index}]")
    if node.list_type in {"map", "set"}:
        seen: set[Any] = set()
        for index, item in enumerate(value):
            key = item_key(node, item)
            if key is not None and key in seen:
                duplicate = item if node.list_type == "set" else {name: item.get(name) for name in node.map_keys}
                yield ("FieldValueDuplicate", f"Duplicate value: {shown(duplicate)}", f"{path}[{index}]")
            seen.add(key)


def _keyed(node: Node, old: Any) -> dict[Any, Any]:
    if not isinstance(old, list) or node.list_type != "map":
        return {}
    return {item_key(node, item): item for item in old}


def item_key(node: Node, item: Any) -> Any:
    """Return what an item of a list is recognised by; None where position is all there is."""
    if node.list_type == "set":
        return shown(item)
    if node.list_type == "map" and isinstance(item, dict):
        return tuple(shown(item.get(name, _default_of(node, name))) for name in node.map_keys)
    return None


def _default_of(node: Node, name: str) -> Any:
    child = node.items.properties.get(name) if node.items is not None else None
    return child.default if child is not None else None


def _fits(node: Node, value: Any) -> bool:
    if node.int_or_string:
        return isinstance(value, str) or (isinstance(value, (int, float)) and not isinstance(value, bool))
    match node.type:
        case "object":
            return isinstance(value, dict)
        case "string":
            return isinstance(value, str)
        case "integer":
            return _is_integer(value)
        case "number":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "array":
            return isinstance(value, list)
    return True


def _is_integer(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _type_name(value: Any, node: Node) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, float):
        return "float64" if node.format else "number"
    return {str: "string", int: "integer", list: "array", dict: "object"}.get(type(value), "null")


def _wrong_type(node: Node, actual: str, path: str) -> Cause:
    wanted = "integer,string" if node.int_or_string else node.type
    if actual == "float64" and node.format:
        wanted = node.format
    message = f'Invalid value: "{actual}": {path} in body must be of type {wanted}: "{actual}"'
    return ("FieldValueTypeInvalid", message, path)


def _branches(node: Node, value: Any, path: str) -> Iterator[Cause]:
    for kind, parts in node.branches.items():
        where = f'"{path}"'
        if kind == "not":
            if not list(_check(parts, value, _MISSING, path)):
                yield _nowhere(f"{where} must not validate the schema (not)")
            continue
        results = [list(_check(part, value, _MISSING, path)) for part in parts]
        valid = sum(not result for result in results)
        if kind == "allOf":
            for result in results:
                yield from result
        elif valid == 0:
            name = "one and only one schema (oneOf)" if kind == "oneOf" else "at least one schema (anyOf)"
            yield _nowhere(f"{where} must validate {name}" + (". Found none valid" if kind == "oneOf" else ""))
            yield from min(results, key=len)
        elif kind == "oneOf" and valid > 1:
            yield _nowhere(f"{where} must validate one and only one schema (oneOf). Found {valid} valid alternatives")


def _nowhere(message: str) -> Cause:
    return ("FieldValueInvalid", f'Invalid value: "": {message}', "<nil>")


Check = Callable[[Any, Any, str, Node], Iterator[Cause]]


def _enum(value: Any, allowed: list[Any], path: str, node: Node) -> Iterator[Cause]:
    if value not in allowed:
        yield unsupported_value(path, value, [str(choice) for choice in allowed])


def _pattern(value: Any, pattern: str, path: str, node: Node) -> Iterator[Cause]:
    if isinstance(value, str) and not expression(pattern).search(value):
        yield invalid_value(path, value, f"{path} in body should match '{pattern}'")


@lru_cache(maxsize=1024)
def expression(pattern: str) -> re.Pattern[str]:
    """Return a pattern in Go's dialect; raises re.error when it is none."""
    return re.compile(re.sub(r"\\z", r"\\Z", pattern).replace(r"\pL", r"[^\W\d_]"), re.ASCII)


def _min_length(value: Any, bound: int, path: str, node: Node) -> Iterator[Cause]:
    if isinstance(value, str) and len(value) < bound:
        yield invalid_value(path, value, f"{path} in body should be at least {bound} chars long")


def _max_length(value: Any, bound: int, path: str, node: Node) -> Iterator[Cause]:
    if isinstance(value, str) and len(value) > bound:
        yield ("FieldValueTooLong", f"Too long: may not be more than {bound} bytes", path)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _minimum(value: Any, bound: float, path: str, node: Node) -> Iterator[Cause]:
    exclusive = bool(node.checks.get("exclusiveMinimum"))
    if _number(value) and (value <= bound if exclusive else value < bound):
        text = "greater than" if exclusive else "greater than or equal to"
        yield invalid_value(path, value, f"{path} in body should be {text} {shown(bound)}")


def _maximum(value: Any, bound: float, path: str, node: Node) -> Iterator[Cause]:
    exclusive = bool(node.checks.get("exclusiveMaximum"))
    if _number(value) and (value >= bound if exclusive else value > bound):
        text = "less than" if exclusive else "less than or equal to"
        yield invalid_value(path, value, f"{path} in body should be {text} {shown(bound)}")


def _multiple_of(value: Any, factor: float, path: str, node: Node) -> Iterator[Cause]:
    if _number(value) and abs(value / factor - round(value / factor)) > 1e-9:
        yield invalid_value(path, value, f"{path} in body should be a multiple of {shown(factor)}")


def _min_items(value: Any, bound: int, path: str, node: Node) -> Iterator[Cause]:
    if isinstance(value, list) and len(value) < bound:
        yield invalid_value(path, len(value), f"{path} in body should have at least {bound} items")


def _max_items(value: Any, bound: int, path: str, node: Node) -> Iterator[Cause]:
    if isinstance(value, list) and len(value) > bound:
        yield ("FieldValueTooMany", f"Too many: {len(value)}: must have at most {bound} items", path)


def _min_properties(value: Any, bound: int, path: str, node: Node) -> Iterator[Cause]:
    if isinstance(value, dict) and len(value) < bound:
        yield invalid_value(path, len(value), f"{path} in body should have at least {bound} properties")


def _max_properties(value: Any, bound: int, path: str, node: Node) -> Iterator[Cause]:
    if isinstance(value, dict) and len(value) > bound:
        yield ("FieldValueTooMany", f"Too many: {len(value)}: must have at most {bound} items", path)


def _unique_items(value: Any, wanted: bool, path: str, node: Node) -> Iterator[Cause]:
    if wanted and isinstance(value, list) and len({shown(item) for item in value}) < len(value):
        yield invalid_value(path, value, f"{path} in body shouldn't contain duplicates")


def _nothing(value: Any, bound: Any, path: str, node: Node) -> Iterator[Cause]:
    return iter(())


_CHECK: dict[str, Check] = {
    "enum": _enum,
    "pattern": _pattern,
    "minLength": _min_length,
    "maxLength": _max_length,
    "minimum": _minimum,
    "maximum": _maximum,
    "exclusiveMinimum": _nothing,
    "exclusiveMaximum": _nothing,
    "multipleOf": _multiple_of,
    "minItems": _min_items,
    "maxItems": _max_items,
    "minProperties": _min_properties,
    "maxProperties": _max_properties,
    "uniqueItems": _unique_items,
}

_UUID = re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_DURATION = re.compile(r"[-+]?(0|(\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))*)")


def _well_formed(kind: str, value: str) -> bool:
    match kind:
        case "date-time":
            return _RFC3339.fullmatch(value) is not None and _is_date(value[:19].upper())
        case "date":
            return len(value) == 10 and _is_date(value)
        case "uuid":
            return _UUID.fullmatch(value) is not None
        case "duration":
            return _DURATION.fullmatch(value) is not None
    return True


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
