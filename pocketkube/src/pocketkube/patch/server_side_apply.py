"""Server-side apply: a configuration is merged in, what its manager no longer states goes."""

import copy
from collections.abc import Iterable
from typing import Any

from pocketkube.patch import managed_fields
from pocketkube.patch.managed_fields import Entry, FieldDiff, FieldSet, Path
from pocketkube.resources.builtin_types import metadata_node, node_of
from pocketkube.resources.registry import Object, Resource
from pocketkube.schema.structural import ANYTHING, Node
from pocketkube.status import ApiError

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class ApplyOperation:
    """The outcome of one apply: the merged object and who owns what in it."""

    def __init__(self, resource: Resource, live: Object, config: Object, manager: str, subresource: str) -> None:
        self._resource = resource
        self._live = live
        self._manager = manager
        self._subresource = subresource
        self._applied_paths = managed_fields.applied_paths(resource, _without_identity(config))
        self._entries: list[Entry] = live.get("metadata", {}).get("managedFields", [])
        self.value = _merge_object(resource, live, config)

    def conflicts(self) -> dict[int, list[Path]]:
        """Return which stated fields others own with another value, by position of their entry."""
        difference = FieldDiff(self._resource, self._live, self.value)
        changed = set(difference.changed)
        found: dict[int, list[Path]] = {}
        for position, entry in enumerate(self._entries):
            if self._is_own(entry):
                continue
            fields = entry.get("fieldsV1") or {}
            paths = [path for path in sorted(self._applied_paths & changed) if managed_fields.contains(fields, path)]
            if paths:
                found[position] = paths
        return found

    def is_client_side_migration(self, conflicts: dict[int, list[Path]]) -> bool:
        """Tell whether kubectl meets only fields that it wrote itself when it still applied on the client's side."""
        text = (self._live.get("metadata", {}).get("annotations") or {}).get(LAST_APPLIED)
        if self._manager != "kubectl" or not text:
            return False
        try:
            before = managed_fields.decode_step(text)
            allowed = managed_fields.applied_paths(self._resource, _without_identity(before))
        except (ValueError, AttributeError, TypeError):
            return False
        return all(path in allowed for paths in conflicts.values() for path in paths)

    def conflict_error(self, conflicts: dict[int, list[Path]]) -> ApiError:
        """Return the error that names all conflicts."""
        causes = [
            {
                "reason": "FieldManagerConflict",
                "message": f"conflict with {_describe_manager(self._entries[position])}",
                "field": format_path(path),
            }
            for position, paths in conflicts.items()
            for path in paths
        ]
        if len(causes) == 1:
            text = f"{causes[0]['message']}: {causes[0]['field']}"
        else:
            text = "\n".join(
                f"conflicts with {_describe_manager(self._entries[position])}:\n"
                + "\n".join(f"- {format_path(path)}" for path in paths)
                for position, paths in conflicts.items()
            )
        plural = "conflict" if len(causes) == 1 else "conflicts"
        message = f"Apply failed with {len(causes)} {plural}: {text}"
        return ApiError(409, "Conflict", message, {"causes": causes})

    def result(self, conflicts: dict[int, list[Path]]) -> tuple[Object, list[Entry]]:
        """Return the object without what this manager gave up, and the entries after the apply."""
        own = next((entry for entry in self._entries if self._is_own(entry)), None)
        others: list[Entry] = []
        for position, entry in enumerate(self._entries):
            if self._is_own(entry):
                continue
            others.append(_entry_without(entry, conflicts.get(position, ())))
        before = set(managed_fields.iterate_paths(own["fieldsV1"])) if own else set()
        self._remove_unowned(before - self._applied_paths, others)
        others = [entry for entry in others if entry.get("fieldsV1")]
        fields = managed_fields.field_set(self._applied_paths)
        if own is not None and own.get("fieldsV1") == fields:
            entries = [*others, own]
        else:
            new = managed_fields.new_entry(
                self._manager, "Apply", self._resource.api_version, fields, self._subresource
            )
            entries = [*others, new] if fields else others
        return self.value, managed_fields.sorted_entries(entries)

    def _is_own(self, entry: Entry) -> bool:
        return (
            entry.get("manager") == self._manager
            and entry.get("operation") == "Apply"
            and entry.get("subresource", "") == self._subresource
        )

    def _remove_unowned(self, given_up: Iterable[Path], others: list[Entry]) -> None:
        stated = managed_fields.field_set(self._applied_paths)
        gone: list[Path] = []
        # Parents first: what goes as a whole needs not go in parts.
        for path in sorted(given_up, key=len):
            if any(path[: len(parent)] == parent for parent in gone):
                continue
            if managed_fields.contains_any(stated, path):
                continue
            if any(managed_fields.contains_any(entry.get("fieldsV1") or {}, path) for entry in others):
                continue
            if len(path) > 1 and path[-2].startswith("k:") and _is_key(path):
                continue
            _remove(node_of(self._resource), self.value, path)
            gone.append(path)


def _is_key(path: Path) -> bool:
    """Tell whether the path is one of the fields that a list item is recognised by."""
    return path[-1].removeprefix("f:") in managed_fields.decode_step(path[-2].removeprefix("k:"))


def _entry_without(entry: Entry, paths: Iterable[Path]) -> Entry:
    paths = list(paths)
    if not paths:
        return entry
    fields: FieldSet = copy.deepcopy(entry.get("fieldsV1") or {})
    for path in paths:
        managed_fields.remove(fields, path)
    return {**entry, "fieldsV1": fields}


def _describe_manager(entry: Entry) -> str:
    text = f'"{entry.get("manager", "")}"'
    if entry.get("subresource"):
        text += f' with subresource "{entry["subresource"]}"'
    if entry.get("operation") == "Update":
        text += f" using {entry.get('apiVersion', '')}"
    return text


def format_path(path: Path) -> str:
    """Return a path as conflicts name it."""
    text = ""
    for step in path:
        kind, _, rest = step.partition(":")
        if kind == "f":
            text += f".{rest}"
        elif kind == "k":
            keys = managed_fields.decode_step(rest)
            text += "[" + ",".join(f"{k}={managed_fields.encode_step(v)}" for k, v in keys.items()) + "]"
        else:
            text += f"[={rest}]"
    return text


def _without_identity(config: Object) -> Object:
    return {name: part for name, part in config.items() if name not in {"apiVersion", "kind"}}


def _merge_object(resource: Resource, live: Object, config: Object) -> Object:
    node = node_of(resource)
    result = copy.deepcopy(live)
    for name, part in config.items():
        if name == "metadata":
            merged = merge(metadata_node(), result.get("metadata"), part)
            result["metadata"] = merged
        elif name not in {"apiVersion", "kind"}:
            result[name] = merge(node.properties.get(name) or ANYTHING, result.get(name), part)
    return result


def merge(node: Node, live: Any, config: Any) -> Any:
    """Return the live value with everything that the configuration states."""
    if not managed_fields.is_granular(node, config) or type(live) is not type(config):
        return copy.deepcopy(config)
    if isinstance(config, dict):
        result = dict(live)
        for name, part in config.items():
            child = node.properties.get(name) or node.additional or ANYTHING
            result[name] = merge(child, live.get(name), part)
        return result
    stated = {step: (child, part) for step, child, part in managed_fields.children(node, config)}
    merged: list[Any] = []
    for step, child, part in managed_fields.children(node, live):
        if step in stated:
            merged.append(merge(child, part, stated.pop(step)[1]))
        else:
            merged.append(part)
    merged.extend(copy.deepcopy(part) for _, part in stated.values())
    return merged


def _remove(node: Node, value: Any, path: Path) -> None:
    """Remove what stands at the path, if it is there."""
    step, rest = path[0], path[1:]
    if isinstance(value, dict):
        name = step[2:]
        if name not in value:
            return
        if not rest:
            del value[name]
            return
        child = metadata_node() if name == "metadata" else node.properties.get(name) or node.additional
        _remove(child or ANYTHING, value[name], rest)
        return
    if not isinstance(value, list):
        return
    for index, (found, child, part) in enumerate(list(managed_fields.children(node, value))):
        if found == step:
            if rest:
                _remove(child, part, rest)
            else:
                del value[index]
            return
