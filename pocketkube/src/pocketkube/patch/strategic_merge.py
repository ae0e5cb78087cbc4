"""Strategic merge patches: lists of built-in kinds merge by the key that their type names."""

import copy
from typing import Any

from pocketkube.resources.builtin_types import metadata_node, node_of
from pocketkube.resources.registry import Object, Resource
from pocketkube.schema.structural import ANYTHING, Node
from pocketkube.status import bad_request

_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"
_DIRECTIVES = frozenset({"$patch", "$retainKeys"})


def apply_patch(resource: Resource, value: Object, patch: Any) -> Object:
    """Return the object after the patch; raise a 400 for one that makes no sense."""
    if not isinstance(patch, dict):
        raise bad_request("the patch is not an object")
    result = _patch_object(node_of(resource), value, patch, top=True)
    return result if isinstance(result, dict) else {}


def _patch_object(node: Node, value: Any, patch: dict[str, Any], *, top: bool = False) -> Any:
    directive = patch.get("$patch")
    if directive == "delete":
        return None
    live = dict(value) if isinstance(value, dict) else {}
    if directive == "replace":
        live = {}
    elif directive not in (None, "merge"):
        raise bad_request(f"unrecognized patch directive {directive!r}")
    if "$retainKeys" in patch:
        kept = _require_list(patch["$retainKeys"])
        live = {name: item for name, item in live.items() if name in kept}
    for key, change in patch.items():
        if key in _DIRECTIVES or key.startswith(_ORDER):
            continue
        if key.startswith(_DELETE):
            _delete_from_list(live, key.removeprefix(_DELETE), change)
            continue
        child = metadata_node() if top and key == "metadata" else node.properties.get(key) or node.additional
        changed = _patch_value(child or ANYTHING, live.get(key), change)
        if changed is None:
            live.pop(key, None)
        else:
            live[key] = changed
    _reorder_lists(node, live, patch)
    return live


def _require_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise bad_request(f"a patch directive needs a list, not {value!r}")
    return value


def _delete_from_list(live: dict[str, Any], name: str, gone: list[Any]) -> None:
    if isinstance(live.get(name), list):
        live[name] = [item for item in live[name] if item not in _require_list(gone)]


def _reorder_lists(node: Node, live: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, order in patch.items():
        name = key.removeprefix(_ORDER)
        if name != key and isinstance(live.get(name), list):
            live[name] = _reordered(node.properties.get(name) or ANYTHING, live[name], _require_list(order))


def _patch_value(node: Node, value: Any, change: Any) -> Any:
    if isinstance(change, dict):
        return _patch_object(node, value, change)
    if isinstance(change, list) and node.merges_items:
        return _patch_list(node, value if isinstance(value, list) else [], change)
    if isinstance(change, list):
        return [_without_directives(item) for item in change]
    return change


def _without_directives(item: Any) -> Any:
    if isinstance(item, dict):
        return {key: _without_directives(part) for key, part in item.items() if not key.startswith("$")}
    return item


def _patch_list(node: Node, live: list[Any], change: list[Any]) -> list[Any]:
    if not node.patch_key:
        return [*live, *(item for item in change if item not in live)]
    key = node.patch_key
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in change):
        return [_without_directives(item) for item in change if "$patch" not in item]
    result = copy.copy(live)
    for item in change:
        if not isinstance(item, dict) or key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        position = next(
            (i for i, old in enumerate(result) if isinstance(old, dict) and old.get(key) == item[key]), None
        )
        if item.get("$patch") == "delete":
            if position is not None:
                del result[position]
        elif position is None:
            result.append(_patch_object(node.items or ANYTHING, {}, item))
        else:
            result[position] = _patch_object(node.items or ANYTHING, result[position], item)
    return result


def _reordered(node: Node, items: list[Any], order: list[Any]) -> list[Any]:
    """Return the items in the order that the patch asks for; those it does not name keep their position."""
    key = node.patch_key

    def name(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    wanted = [name(item) for item in order]
    named = sorted((item for item in items if name(item) in wanted), key=lambda item: wanted.index(name(item)))
    ordered = iter(named)
    return [next(ordered) if name(item) in wanted else item for item in items]
