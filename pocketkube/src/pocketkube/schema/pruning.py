"""Unknown fields and defaults: how a body becomes the object that is stored."""

import copy
from typing import Any

from pocketkube.schema.structural import Node

_OBJECT_META = frozenset(
    {
        "annotations", "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers",
        "generateName", "generation", "labels", "managedFields", "name", "namespace", "ownerReferences",
        "resourceVersion", "selfLink", "uid",
    }
)  # fmt: skip
_TYPED = frozenset({"apiVersion", "kind", "metadata"})


def prune(node: Node, value: dict[str, Any]) -> list[str]:
    """Remove what the schema of the whole object does not know, and return its paths, sorted."""
    unknown: list[str] = []
    metadata = value.get("metadata")
    if isinstance(metadata, dict):
        _prune_metadata(metadata, "metadata", unknown)
    for name in list(value):
        if name in _TYPED:
            continue
        child = node.properties.get(name)
        if child is not None:
            _prune(child, value[name], name, unknown)
        elif not node.preserves_unknown:
            unknown.append(name)
            del value[name]
    return sorted(unknown)


def _prune_metadata(metadata: dict[str, Any], path: str, unknown: list[str]) -> None:
    for name in list(metadata):
        if name not in _OBJECT_META:
            unknown.append(f"{path}.{name}")
            del metadata[name]


def _prune(node: Node, value: Any, path: str, unknown: list[str]) -> None:
    if isinstance(value, dict):
        if node.int_or_string:
            return
        _prune_object(node, value, path, unknown)
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            _prune(node.items, item, f"{path}[{index}]", unknown)


def _prune_object(node: Node, value: dict[str, Any], path: str, unknown: list[str]) -> None:
    properties, additional = node.properties, node.additional
    for name in list(value):
        child = properties.get(name) or additional
        if child is not None:
            if isinstance(value[name], (dict, list)):
                _prune(child, value[name], f"{path}.{name}", unknown)
        elif node.embedded and name in _TYPED:
            if name == "metadata" and isinstance(value[name], dict):
                _prune_metadata(value[name], f"{path}.metadata", unknown)
        elif not node.preserves_unknown:
            unknown.append(f"{path}.{name}")
            del value[name]


def apply_defaults(node: Node, value: Any) -> None:
    """Drop nulls that the schema does not allow, and put defaults where nothing stands."""
    if isinstance(value, dict):
        for name, child in node.properties.items():
            _apply_default(value, name, child)
        if node.additional is not None:
            for name, current in value.items():
                if name not in node.properties and isinstance(current, (dict, list)):
                    apply_defaults(node.additional, current)
    elif isinstance(value, list) and node.items is not None:
        for item in value:
            if isinstance(item, (dict, list)):
                apply_defaults(node.items, item)


def _apply_default(value: dict[str, Any], name: str, child: Node) -> None:
    if name in value:
        current = value[name]
        if current is not None or child.nullable:
            if isinstance(current, (dict, list)):
                apply_defaults(child, current)
            return
        del value[name]
    if child.has_default:
        value[name] = copy.deepcopy(child.default)
        apply_defaults(child, value[name])
