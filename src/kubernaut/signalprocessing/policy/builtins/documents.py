"""Whole JSON values: subsets, and removal and change by path."""

from typing import Any

from kubernaut.signalprocessing.policy.builtins.results import Inexact, Undefined


def subset(whole: Any, part: Any) -> bool:
    _refuse_sets(whole, part)
    if isinstance(whole, dict) and isinstance(part, dict):
        return _object_subset(whole, part)
    if isinstance(whole, list) and isinstance(part, list):
        return _array_subset(whole, part)
    raise Undefined("operands of different types")


def remove(document: Any, paths: Any) -> Any:
    _refuse_sets(document)
    if not isinstance(document, dict):
        raise Undefined("not an object")
    return _without(document, _tree(paths))


def equal(left: Any, right: Any) -> bool:
    """As Rego compares: 1 and 1.0 are equal, 1 and true are not."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    return bool(left == right) and (type(left) is type(right) or (_is_number(left) and _is_number(right)))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _refuse_sets(*values: Any) -> None:
    """A set comes here without the difference between 1 and true, so an answer might be wrong."""
    for value in values:
        if isinstance(value, (set, frozenset)):
            raise Inexact("sets are not available here; use their operators")
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                raise Inexact("objects whose keys are no texts are not available here")
            _refuse_sets(*value.values())
        elif isinstance(value, list):
            _refuse_sets(*value)


def _object_subset(whole: dict[str, Any], part: dict[str, Any]) -> bool:
    for key, value in part.items():
        if key not in whole:
            return False
        found = whole[key]
        if equal(found, value):
            continue
        if isinstance(found, dict) and isinstance(value, dict):
            if not _object_subset(found, value):
                return False
        elif not (isinstance(found, list) and isinstance(value, list) and _array_subset(found, value)):
            return False
    return True


def _array_subset(whole: list[Any], part: list[Any]) -> bool:
    return any(equal(whole[start : start + len(part)], part) for start in range(len(whole) - len(part) + 1))


def _tree(paths: Any) -> dict[str, Any]:
    """The paths as an object whose leaves are None."""
    if isinstance(paths, (set, frozenset)):
        raise Inexact("a set of paths is not available here; use an array")
    if not isinstance(paths, list):
        raise Undefined("not a list of paths")
    root: dict[str, Any] = {}
    for path in map(_segments, paths):
        node: Any = root
        for segment in path[:-1]:
            node = node.setdefault(segment, {})
            if node is None:  # a shorter path removes the whole
                break
        if path and node is not None:
            node[path[-1]] = None
    return root


def _segments(path: Any) -> list[str]:
    if isinstance(path, str):
        parts = path.lstrip("/").split("/") if path else []
        return [part.replace("~1", "/").replace("~0", "~") for part in parts]
    if not isinstance(path, list):
        raise Undefined("not a path")
    if not all(isinstance(segment, str) for segment in path):
        raise Inexact("parts of a path that are no texts are not available here")
    return path


def _without(document: Any, tree: dict[str, Any]) -> Any:
    if isinstance(document, dict):
        return {key: _kept(value, key, tree) for key, value in document.items() if not _is_removed(key, tree)}
    if isinstance(document, list):
        named = [(str(place), value) for place, value in enumerate(document)]
        return [_kept(value, name, tree) for name, value in named if not _is_removed(name, tree)]
    return document


def _is_removed(name: str, tree: dict[str, Any]) -> bool:
    return name in tree and tree[name] is None


def _kept(value: Any, name: str, tree: dict[str, Any]) -> Any:
    return _without(value, tree[name]) if name in tree else value
