"""Who manages which field: metadata.managedFields.

A set of fields is the fields that FieldsV1 writes: `f:name` a field, `k:{…}` an item of a list by its
keys, `v:…` an item of a set, `.` the field itself where fields below it are listed too.
Paths are tuples of such names.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from pocketkube.codec import decode, encode
from pocketkube.resources.builtin_types import metadata_node, node_of
from pocketkube.resources.metadata import now
from pocketkube.resources.registry import Object, Resource
from pocketkube.schema.structural import ANYTHING, Node

Path = tuple[str, ...]
FieldSet = dict[str, Any]
Entry = dict[str, Any]

_NOT_TRACKED = frozenset(
    {
        "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields",
        "name", "namespace", "resourceVersion", "selfLink", "uid",
    }
)  # fmt: skip
_META = "f:metadata"


def insert_all(fields: FieldSet, paths: Iterable[Path]) -> None:
    """Add paths to the set."""
    for path in paths:
        _insert(fields, path)


def _insert(fields: FieldSet, path: Path) -> None:
    last = len(path) - 1
    for index, step in enumerate(path):
        existed = step in fields
        below = fields.setdefault(step, {})
        if index < last:
            if existed and not below:
                below["."] = {}
        elif below:
            below["."] = {}
        fields = below


def remove(fields: FieldSet, path: Path, *, below: bool = False) -> bool:
    """Take a path out of the set, and what stands below it too if asked; tell whether it was there."""
    head, rest = path[0], path[1:]
    child = fields.get(head)
    if child is None:
        return False
    if rest:
        was_leaf = not child
        found = not was_leaf and remove(child, rest, below=below)
        if found and not child:
            del fields[head]
        return found
    if below or not child:
        del fields[head]
        return True
    found = "." in child
    child.pop(".", None)
    if not child:
        del fields[head]
    return found


def contains(fields: FieldSet, path: Path) -> bool:
    """Tell whether the path is in the set."""
    for step in path:
        below = fields.get(step)
        if below is None:
            return False
        fields = below
    return not fields or "." in fields


def contains_any(fields: FieldSet, path: Path) -> bool:
    """Tell whether the path, or anything below it, is in the set."""
    for step in path:
        below = fields.get(step)
        if below is None:
            return False
        fields = below
    return True


def iterate_paths(fields: FieldSet, prefix: Path = ()) -> Iterator[Path]:
    """Yield all paths of the set."""
    if prefix and (not fields or "." in fields):
        yield prefix
    for step, below in fields.items():
        if step != ".":
            yield from iterate_paths(below, (*prefix, step))


def field_set(paths: Iterable[Path]) -> FieldSet:
    """Return the set of the paths."""
    fields: FieldSet = {}
    insert_all(fields, sorted(paths))
    return fields


def children(node: Node, value: Any) -> Iterator[tuple[str, Node, Any]]:
    """Yield name, schema and value of each part of a value that has managers of its own."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield f"f:{name}", _child(node, name), item
    elif isinstance(value, list) and node.items is not None:
        for item in value:
            if node.list_type == "set":
                yield f"v:{encode(item).decode()}", ANYTHING, item
            elif isinstance(item, dict):
                yield f"k:{_keys(node, item)}", node.items, item


def _child(node: Node, name: str) -> Node:
    return node.properties.get(name) or node.additional or ANYTHING


def _keys(node: Node, item: dict[str, Any]) -> str:
    items = node.items or ANYTHING
    keys = {
        name: item.get(name, items.properties[name].default if name in items.properties else None)
        for name in sorted(node.map_keys)
    }
    return encode(keys).decode()


def is_granular(node: Node, value: Any) -> bool:
    """Tell whether parts of this value have owners of their own."""
    if isinstance(value, dict):
        return node.map_type != "atomic" and not node.int_or_string
    return isinstance(value, list) and node.list_type in {"map", "set"}


def applied_paths(resource: Resource, value: Object) -> set[Path]:
    """Return the fields that an apply configuration states."""
    return {
        path for top, node, part in _top_level_fields(resource, value) for path in _applied_paths(node, part, (top,))
    }


def _top_level_fields(resource: Resource, value: Object) -> Iterator[tuple[str, Node, Any]]:
    node = node_of(resource)
    for name, part in value.items():
        if name == "metadata":
            tracked = {key: item for key, item in part.items() if key not in _NOT_TRACKED}
            if tracked:
                yield _META, metadata_node(), tracked
        elif name not in {"apiVersion", "kind"}:
            yield f"f:{name}", _child(node, name), part


def _applied_paths(node: Node, value: Any, path: Path) -> Iterator[Path]:
    if not is_granular(node, value) or not value:
        yield path
        return
    if path[-1].startswith("k:"):
        yield path
    for step, child, part in children(node, value):
        yield from _applied_paths(child, part, (*path, step))


class FieldDiff:
    """What an update changed, as paths."""

    def __init__(self, resource: Resource, old: Object, new: Object) -> None:
        self.changed: list[Path] = []
        self.removed: list[Path] = []
        before = {step: (node, part) for step, node, part in _top_level_fields(resource, old)}
        after = {step: (node, part) for step, node, part in _top_level_fields(resource, new)}
        for step, (node, part) in after.items():
            if step in before:
                self._compare(node, before[step][1], part, (step,))
            elif step == _META:
                self._compare(node, {}, part, (step,))
            else:
                self._add(node, part, (step,))
        for step in before:
            if step not in after:
                self.removed.append((step,))

    def _add(self, node: Node, value: Any, path: Path) -> None:
        self.changed.append(path)
        if is_granular(node, value):
            for step, child, part in children(node, value):
                self._add(child, part, (*path, step))

    def _compare(self, node: Node, old: Any, new: Any, path: Path) -> None:
        if old == new:
            return
        if not is_granular(node, new) or type(old) is not type(new):
            self.changed.append(path)
            return
        before = {step: part for step, _, part in children(node, old)}
        for step, child, part in children(node, new):
            if step in before:
                self._compare(child, before.pop(step), part, (*path, step))
            else:
                self._add(child, part, (*path, step))
        self.removed.extend((*path, step) for step in before)


def record_update(
    resource: Resource, entries: list[Entry], old: Object | None, new: Object, manager: str, subresource: str
) -> list[Entry]:
    """Return the entries after an update by this manager; the given ones are not changed."""
    base: Object = old if old is not None else {}
    difference = FieldDiff(resource, base, new)
    if not difference.changed and not difference.removed:
        return entries
    result: list[Entry] = []
    own: Entry | None = None
    for entry in entries:
        if _is_own(entry, manager, "Update", resource.api_version, subresource):
            own = entry
            continue
        result.extend(_without(entry, difference))
    own_entry = _updated_own_entry(own, resource, manager, subresource, difference)
    if own_entry is not None:
        result.append(own_entry)
    return sorted_entries(result)


def _is_own(entry: Entry, manager: str, operation: str, api_version: str, subresource: str) -> bool:
    return (
        entry.get("manager") == manager
        and entry.get("operation") == operation
        and entry.get("apiVersion") == api_version
        and entry.get("subresource", "") == subresource
    )


def _without(entry: Entry, difference: FieldDiff) -> Iterator[Entry]:
    """Yield the entry without what somebody else has changed now; nothing when nothing is left."""
    fields = entry.get("fieldsV1") or {}
    touched = [path for path in difference.changed if contains(fields, path)]
    removed = [path for path in difference.removed if contains_any(fields, path)]
    if not touched and not removed:
        yield entry
        return
    fields = _copy(fields)
    for path in touched:
        remove(fields, path)
    for path in removed:
        remove(fields, path, below=True)
    if fields:
        yield {**entry, "fieldsV1": fields}


def _updated_own_entry(
    own: Entry | None, resource: Resource, manager: str, subresource: str, difference: FieldDiff
) -> Entry | None:
    fields = _copy((own or {}).get("fieldsV1") or {})
    for path in difference.removed:
        remove(fields, path, below=True)
    # A parent is listed before its children, so that it becomes a member of its own.
    insert_all(fields, (path for path in difference.changed if path != (_META,)))
    if not fields:
        return None
    if own is not None and fields == own.get("fieldsV1"):
        return own
    return new_entry(manager, "Update", resource.api_version, fields, subresource)


def new_entry(manager: str, operation: str, api_version: str, fields: FieldSet, subresource: str) -> Entry:
    """Return a new entry."""
    entry = {
        "manager": manager,
        "operation": operation,
        "apiVersion": api_version,
        "time": now(),
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    if subresource:
        entry["subresource"] = subresource
    return entry


def sorted_entries(entries: list[Entry]) -> list[Entry]:
    """Return the entries in the order in which they are stored."""
    return sorted(
        entries,
        key=lambda e: (e.get("operation", ""), e.get("time", ""), e.get("manager", ""), e.get("subresource", "")),
    )


def _copy(fields: FieldSet) -> FieldSet:
    return {step: _copy(below) for step, below in fields.items()}


def base_entries(value: Object, old: Object | None) -> list[Entry]:
    """Return the entries to start from: the client's, if it sent any, else those that stood there."""
    metadata = value["metadata"]
    if "managedFields" in metadata:
        sent = metadata.pop("managedFields")
        return [entry for entry in sent if entry.get("manager") or entry.get("fieldsV1")]
    entries: list[Entry] = (old or {}).get("metadata", {}).get("managedFields", [])
    return entries


def decode_step(text: str) -> Any:
    """Return the value in a step of a path."""
    return decode(text)


def encode_step(value: Any) -> str:
    """Return a value as steps of paths write it."""
    return encode(value).decode()
