"""The types of built-in kinds, from the definitions in `definitions.jsonl`.

The definitions are those of Kubernetes' own OpenAPI documents (Apache License 2.0, The Kubernetes
Authors), reduced to the kinds served here and with shortened descriptions. They are read when the
first built-in object is written or somebody asks for an OpenAPI document, not at the start.
"""

from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

import msgspec

from pocketkube.resources.registry import Resource
from pocketkube.schema.structural import ANYTHING, Node, Schema, compile_schema

_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_compiled: dict[str, Node] = {}


@cache
def definitions() -> dict[str, dict[str, Any]]:
    """Return all definitions by name."""
    text = resources.files(__package__).joinpath("definitions.jsonl").read_bytes()
    lines = msgspec.json.Decoder(tuple[str, dict[str, Any]]).decode_lines(text)
    return dict(lines)


@cache
def _by_kind() -> dict[tuple[str, str, str], str]:
    names: dict[tuple[str, str, str], str] = {}
    for name, schema in definitions().items():
        for entry in schema.get("x-kubernetes-group-version-kind", ()):
            names[entry["group"], entry["version"], entry["kind"]] = name
    return names


def definition_name(resource: Resource) -> str:
    """Return the name of a built-in resource's definition, or an empty string."""
    return _by_kind().get((resource.group, resource.version, resource.kind), "")


def _resolve(name: str) -> Schema:
    return definitions()[name]


def node_of(resource: Resource) -> Node:
    """Return the schema of a resource's objects."""
    if resource.custom is not None:
        return resource.custom.node
    name = definition_name(resource)
    if not name:
        return ANYTHING
    return compile_schema({"$ref": f"#/definitions/{name}"}, _resolve, _compiled)


def metadata_node() -> Node:
    """Return the schema of metadata."""
    return compile_schema({"$ref": f"#/definitions/{_META}"}, _resolve, _compiled)


def type_errors(resource: Resource, value: dict[str, Any]) -> Iterator[str]:
    """Yield what is not even of the right JSON type, in Go's words."""
    for name, child in node_of(resource).properties.items():
        if name in value and name not in {"apiVersion", "kind", "metadata"}:
            yield from _mismatches(child, value[name], f"{resource.kind}.{name}")


_GO = {"string": "string", "boolean": "bool", "integer": "int32", "number": "float64"}


def _mismatches(node: Node, value: Any, path: str) -> Iterator[str]:
    if value is None or node.preserves_unknown or (node.accepts_any_type and not isinstance(value, dict)):
        return
    if isinstance(value, dict) and not node.int_or_string and node.type in {"object", ""}:
        for name, item in value.items():
            child = node.properties.get(name)
            if child is not None:
                yield from _mismatches(child, item, f"{path}.{name}")
            elif node.additional is not None:
                yield from _mismatches(node.additional, item, path)
        return
    if isinstance(value, list) and node.type == "array":
        if node.items is not None:
            for item in value:
                if item is None and node.items.type == "object":
                    yield f"json: cannot unmarshal null into Go struct field {path} of type object"
                yield from _mismatches(node.items, item, path)
        return
    if not _has_type(node, value):
        actual = {bool: "bool", str: "string", list: "array", dict: "object"}.get(type(value), "number")
        wanted = "int64" if node.format == "int64" else _GO.get(node.type, node.type or "string")
        yield f"json: cannot unmarshal {actual} into Go struct field {path} of type {wanted}"


def _has_type(node: Node, value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if node.int_or_string:
        return number or isinstance(value, str)
    match node.type:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return number and float(value).is_integer()
        case "number":
            return number
        case "object" | "array":
            return False
    return True
