"""Schemas as trees that can be walked quickly: structural ones of definitions, and those of built-in kinds."""

from collections.abc import Callable, Mapping
from typing import Any

Schema = Mapping[str, Any]
Resolve = Callable[[str], Schema]

_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_SCHEMA = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_RAW = frozenset({"io.k8s.apimachinery.pkg.runtime.RawExtension", "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1"})


class Node:
    """One level of a schema: the keywords of one value."""

    __slots__ = (
        "accepts_any_type",
        "additional",
        "branches",
        "checks",
        "default",
        "embedded",
        "format",
        "has_default",
        "int_or_string",
        "items",
        "list_type",
        "map_keys",
        "map_type",
        "merges_items",
        "nullable",
        "patch_key",
        "preserves_unknown",
        "properties",
        "required",
        "rules",
        "type",
    )

    def __init__(self, schema: Schema) -> None:
        self.type: str = schema.get("type", "")
        self.format: str = schema.get("format", "")
        self.nullable: bool = bool(schema.get("nullable"))
        self.has_default: bool = "default" in schema
        self.default: Any = schema.get("default")
        self.preserves_unknown: bool = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
        self.embedded: bool = bool(schema.get("x-kubernetes-embedded-resource"))
        self.int_or_string: bool = bool(schema.get("x-kubernetes-int-or-string")) or self.format == "int-or-string"
        self.accepts_any_type: bool = False
        """A value that is no object may stand here too."""
        self.list_type: str = schema.get("x-kubernetes-list-type", "")
        self.map_keys: tuple[str, ...] = tuple(schema.get("x-kubernetes-list-map-keys") or ())
        self.map_type: str = schema.get("x-kubernetes-map-type", "")
        self.merges_items: bool = "merge" in str(schema.get("x-kubernetes-patch-strategy", ""))
        self.patch_key: str = schema.get("x-kubernetes-patch-merge-key", "")
        self.required: tuple[str, ...] = tuple(schema.get("required") or ())
        self.properties: dict[str, Node] = {}
        self.additional: Node | None = None
        self.items: Node | None = None
        self.checks: dict[str, Any] = {key: schema[key] for key in _CHECKS if key in schema}
        self.branches: dict[str, Any] = {}
        self.rules: list[Mapping[str, Any]] = list(schema.get("x-kubernetes-validations") or ())


_CHECKS = (
    "enum",
    "maxLength",
    "minLength",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "maxItems",
    "maxProperties",
    "maximum",
    "minItems",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
    "uniqueItems",
)
ANYTHING = Node({"x-kubernetes-preserve-unknown-fields": True})


def compile_schema(schema: Schema, resolve: Resolve | None = None, known: dict[str, Node] | None = None) -> Node:
    """Return the tree of a schema; `resolve` finds what a $ref names."""
    known = {} if known is None else known
    reference = _reference(schema)
    if reference and resolve is not None:
        name = reference.rpartition("/")[2]
        node = known.get(name)
        if node is None:
            node = known[name] = _named(name, resolve, known)
        return node
    node = Node(schema)
    if resolve is not None:
        # Defaults of built-in kinds are Go's zero values, which nobody stores.
        node.has_default = False
    _fill(node, schema, resolve, known)
    return node


def _named(name: str, resolve: Resolve, known: dict[str, Node]) -> Node:
    accepts_any_type = name.endswith(("JSONSchemaPropsOrArray", "JSONSchemaPropsOrBool"))
    schema = resolve(_SCHEMA if accepts_any_type else name)
    node = known[name] = Node(schema)
    node.accepts_any_type = accepts_any_type
    _apply_type_exceptions(name, node)
    _fill(node, schema, resolve, known)
    return node


def _reference(schema: Schema) -> str:
    reference = schema.get("$ref", "")
    parts = schema.get("allOf")
    if not reference and parts and len(parts) == 1 and "$ref" in parts[0]:
        reference = parts[0]["$ref"]
    return str(reference)


def _apply_type_exceptions(name: str, node: Node) -> None:
    if name in {_INT_OR_STRING, _QUANTITY}:
        node.int_or_string = True
        node.type = ""
    elif name in _RAW or name.endswith((".JSON", ".JSONSchemaPropsOrStringArray")):
        node.preserves_unknown = True


def _fill(node: Node, schema: Schema, resolve: Resolve | None, known: dict[str, Node]) -> None:
    for name, part in (schema.get("properties") or {}).items():
        child = compile_schema(part, resolve, known)
        if _reference(part):
            child = _with_sibling_keywords(child, part)
        node.properties[name] = child
    additional = schema.get("additionalProperties")
    if isinstance(additional, Mapping):
        node.additional = compile_schema(additional, resolve, known)
    elif additional is True:
        node.preserves_unknown = True
    if isinstance(schema.get("items"), Mapping):
        node.items = compile_schema(schema["items"], resolve, known)
    if not _reference(schema):
        for key in ("allOf", "anyOf", "oneOf"):
            if schema.get(key):
                node.branches[key] = [compile_schema(part, resolve, known) for part in schema[key]]
        if schema.get("not"):
            node.branches["not"] = compile_schema(schema["not"], resolve, known)


def _with_sibling_keywords(node: Node, part: Schema) -> Node:
    """Return the node with what stands beside a $ref: a default, a way to merge."""
    hints = ("default", "x-kubernetes-map-type", "x-kubernetes-patch-strategy", "nullable")
    if not any(hint in part for hint in hints):
        return node
    copy = object.__new__(Node)
    for slot in Node.__slots__:
        setattr(copy, slot, getattr(node, slot))
    copy.map_type = part.get("x-kubernetes-map-type", node.map_type)
    copy.merges_items = node.merges_items or "merge" in str(part.get("x-kubernetes-patch-strategy", ""))
    return copy
