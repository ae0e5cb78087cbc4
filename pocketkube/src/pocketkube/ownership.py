"""Who manages which field: metadata.managedFields.

A set of fields is the tree that FieldsV1 writes: `f:name` a field, `k:{…}` an item of a list by its
keys, `v:…` an item of a set, `.` the place itself when something else stands below it.
Paths are tuples of such names.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from pocketkube.metadata import now
from pocketkube.resources import Object, Resource
from pocketkube.schema import ANYTHING, Node
from pocketkube.store import decode, encode
from pocketkube.typed import metadata_node, node_of

Path = tuple[str, ...]
Tree = dict[str, Any]
Entry = dict[str, Any]

_NOT_TRACKED = frozenset(
    {
        "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields",
        "name", "namespace", "resourceVersion", "selfLink", "uid",
    }
)  # fmt: skip
_META = "f:metadata"


def insert_all(tree: Tree, paths: Iterable[Path]) -> None:
    """Add paths to the set."""
    for path in paths:
        _insert(tree, path)


def _insert(tree: Tree, path: Path) -> None:
    last = len(path) - 1
    for index, step in enumerate(path):
        existed = step in tree
        below = tree.setdefault(step, {})
        if index < last:
            if existed and not below:
                below["."] = {}
        elif below:
            below["."] = {}
        tree = below


def discard(tree: Tree, path: Path, *, below: bool = False) -> bool:
    """Take a path out of the set, and what stands below it too if asked; tell whether it was there."""
    head, rest = path[0], path[1:]
    child = tree.get(head)
    if child is None:
        return False
    if rest:
        was_leaf = not child
        found = not was_leaf and discard(child, rest, below=below)
        if found and not child:
            del tree[head]
        return found
    if below or not child:
        del tree[head]
        return True
    found = "." in child
    child.pop(".", None)
    if not child:
        del tree[head]
    return found


def contains(tree: Tree, path: Path) -> bool:
    """Tell whether the path is in the set."""
    for step in path:
        below = tree.get(step)
        if below is None:
            return False
        tree = below
    return not tree or "." in tree


def touches(tree: Tree, path: Path) -> bool:
    """Tell whether the path, or anything below it, is in the set."""
    for step in path:
        below = tree.get(step)
        if below is None:
            return False
        tree = below
    return True


def paths_of(tree: Tree, prefix: Path = ()) -> Iterator[Path]:
    """Yield all paths of the set."""
    if prefix and (not tree or "." in tree):
        yield prefix
    for step, below in tree.items():
        if step != ".":
            yield from paths_of(below, (*prefix, step))


def tree_of(paths: Iterable[Path]) -> Tree:
    """Return the set of the paths."""
    tree: Tree = {}
    insert_all(tree, sorted(paths))
    return tree


def children(node: Node, value: Any) -> Iterator[tuple[str, Node, Any]]:
    """Yield name, schema and value of what is managed apart within a value."""
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
    return {path for top, node, part in _tops(resource, value) for path in _stated(node, part, (top,))}


def _tops(resource: Resource, value: Object) -> Iterator[tuple[str, Node, Any]]:
    node = node_of(resource)
    for name, part in value.items():
        if name == "metadata":
            tracked = {key: item for key, item in part.items() if key not in _NOT_TRACKED}
            if tracked:
                yield _META, metadata_node(), tracked
        elif name not in {"apiVersion", "kind"}:
            yield f"f:{name}", _child(node, name), part


def _stated(node: Node, value: Any, path: Path) -> Iterator[Path]:
    if not is_granular(node, value) or not value:
        yield path
        return
    if path[-1].startswith("k:"):
        yield path
    for step, child, part in children(node, value):
        yield from _stated(child, part, (*path, step))


class Difference:
    """What an update changed, as paths."""

    def __init__(self, resource: Resource, old: Object, new: Object) -> None:
        self.changed: list[Path] = []
        self.removed: list[Path] = []
        before = {step: (node, part) for step, node, part in _tops(resource, old)}
        after = {step: (node, part) for step, node, part in _tops(resource, new)}
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
    difference = Difference(resource, base, new)
    if not difference.changed and not difference.removed:
        return entries
    result: list[Entry] = []
    own: Entry | None = None
    for entry in entries:
        if _is_own(entry, manager, "Update", resource.api_version, subresource):
            own = entry
            continue
        result.extend(_without(entry, difference))
    own_entry = _owned(own, resource, manager, subresource, difference)
    if own_entry is not None:
        result.append(own_entry)
    return ordered(result)


def _is_own(entry: Entry, manager: str, operation: str, api_version: str, subresource: str) -> bool:
    return (
        entry.get("manager") == manager
        and entry.get("operation") == operation
        and entry.get("apiVersion") == api_version
        and entry.get("subresource", "") == subresource
    )


def _without(entry: Entry, difference: Difference) -> Iterator[Entry]:
    """Yield the entry without what somebody else has changed now; nothing when nothing is left."""
    tree = entry.get("fieldsV1") or {}
    touched = [path for path in difference.changed if contains(tree, path)]
    removed = [path for path in difference.removed if touches(tree, path)]
    if not touched and not removed:
        yield entry
        return
    tree = _copy(tree)
    for path in touched:
        discard(tree, path)
    for path in removed:
        discard(tree, path, below=True)
    if tree:
        yield {**entry, "fieldsV1": tree}


def _owned(
    own: Entry | None, resource: Resource, manager: str, subresource: str, difference: Difference
) -> Entry | None:
    tree = _copy((own or {}).get("fieldsV1") or {})
    for path in difference.removed:
        discard(tree, path, below=True)
    # A parent is listed before its children, so that it becomes a member of its own.
    insert_all(tree, (path for path in difference.changed if path != (_META,)))
    if not tree:
        return None
    if own is not None and tree == own.get("fieldsV1"):
        return own
    return entry_of(manager, "Update", resource.api_version, tree, subresource)


def entry_of(manager: str, operation: str, api_version: str, tree: Tree, subresource: str) -> Entry:
    """Return a new entry."""
    entry = {
        "manager": manager,
        "operation": operation,
        "apiVersion": api_version,
        "time": now(),
        "fieldsType": "FieldsV1",
        "fieldsV1": tree,
    }
    if subresource:
        entry["subresource"] = subresource
    return entry


def ordered(entries: list[Entry]) -> list[Entry]:
    """Return the entries in the order in which they are stored."""
    return sorted(
        entries,
        key=lambda e: (e.get("operation", ""), e.get("time", ""), e.get("manager", ""), e.get("subresource", "")),
    )


def _copy(tree: Tree) -> Tree:
    return {step: _copy(below) for step, below in tree.items()}


def given_entries(value: Object, old: Object | None) -> list[Entry]:
    """Return the entries to start from: the client's, if it sent any, else those that stood there."""
    metadata = value["metadata"]
    if "managedFields" in metadata:
        sent = metadata.pop("managedFields")
        return [entry for entry in sent if entry.get("manager") or entry.get("fieldsV1")]
    entries: list[Entry] = (old or {}).get("metadata", {}).get("managedFields", [])
    return entries


def decoded(text: str) -> Any:
    """Return the value in a step of a path."""
    return decode(text)


def encoded(value: Any) -> str:
    """Return a value as steps of paths write it."""
    return encode(value).decode()
