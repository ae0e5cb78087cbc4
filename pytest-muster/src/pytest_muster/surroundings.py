"""The variables of a project's modules: their kinds, and which of them a test left changed.

A fingerprint of a module is shallow: the identity of each value, and the sizes and the identities of the items of
what it, its classes and its objects hold. It reads no property, calls nothing of the project and keeps no value alive.
"""

import sys
from collections import deque
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from pytest_muster.errors import Project, is_variable, kind_of

MOST_NAMES = 200
MOST_ITEMS = 64
"""The items of bigger containers are not compared, only their number."""
MOST_CHANGES = 50

_Print = tuple[Any, ...]

_DICTS = (dict,)
_SEQUENCES = (list, deque)
_SIZED_ONLY = (set, bytearray)


class Surroundings:
    """The loaded modules of a project, as they were when they were last looked at."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._loaded = -1
        self._modules: dict[str, ModuleType] = {}
        self._prints: dict[str, tuple[_Print, dict[str, tuple[str, _Print]]]] = {}

    def modules(self) -> Mapping[str, ModuleType]:
        if len(sys.modules) != self._loaded:
            self._loaded = len(sys.modules)
            self._modules = {
                name: module
                for name, module in list(sys.modules.items())
                if isinstance(module, ModuleType)
                and self.project.relative(getattr(module, "__file__", None) or "") is not None
            }
        return self._modules

    def kinds(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Per module, the kinds of its variables."""
        for module_name, module in list(self.modules().items()):
            names = {name: kind_of(value) for name, value in list(vars(module).items()) if _is_watched(name, value)}
            if names:
                yield module_name, dict(list(names.items())[:MOST_NAMES])

    def changes(self) -> list[dict[str, str]]:
        """What changed since the last call; a module that is new since then is only taken in."""
        found: list[dict[str, str]] = []
        for module_name, module in list(self.modules().items()):
            quick = _quick(module)
            known = self._prints.get(module_name)
            if known is not None and known[0] == quick:
                continue
            details = _details(module)
            self._prints[module_name] = (quick, details)
            if known is None:
                continue
            before = known[1]
            for name in dict.fromkeys([*before, *details]):
                was, now = before.get(name), details.get(name)
                if was != now and len(found) < MOST_CHANGES:
                    found.append(
                        {
                            "module": module_name,
                            "name": name,
                            "was": was[0] if was else "missing",
                            "now": now[0] if now else "missing",
                        }
                    )
        return found


def _is_watched(name: str, value: object) -> bool:
    return not name.startswith(("__", "@")) and is_variable(value)


def _quick(module: ModuleType) -> _Print:
    """Differs if anything does that `_details` would show."""
    members = vars(module)
    prints: list[Any] = [tuple(map(id, members.values()))]
    name = module.__name__
    for value in list(members.values()):
        cls = type(value)
        if cls in _DICTS or cls in _SEQUENCES or cls in _SIZED_ONLY:
            if value is not members.get("__builtins__"):
                prints.append(_items(value))
        elif cls is type or isinstance(value, type):
            if value.__module__ == name:
                prints.extend(map(_items, vars(value).values()))
                prints.append(tuple(map(id, vars(value).values())))
        elif (inner := _inner(value)) is not None:
            prints.append(tuple(map(id, inner.values())))
            prints.extend(map(_items, inner.values()))
    return tuple(prints)


def _items(value: object) -> Any:
    cls = type(value)
    if cls is dict:
        size = len(value)  # type: ignore[arg-type]  # the class is known
        return (size, *map(id, value.values())) if size <= MOST_ITEMS else size  # type: ignore[attr-defined]
    if cls is list or cls is deque:
        size = len(value)  # type: ignore[arg-type]
        return (size, *map(id, value)) if size <= MOST_ITEMS else size  # type: ignore[call-overload]
    if cls is set or cls is bytearray:
        return len(value)  # type: ignore[arg-type]
    return None


def _inner(value: object) -> dict[str, object] | None:
    """The attributes of an object; None for code, and for objects that keep theirs elsewhere."""
    if not is_variable(value):
        return None
    try:
        members = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return members if type(members) is dict else None


def _details(module: ModuleType) -> dict[str, tuple[str, _Print]]:
    found: dict[str, tuple[str, _Print]] = {}
    for name, value in list(vars(module).items()):
        if name.startswith(("__", "@")):
            continue
        found[name] = (kind_of(value), (id(value), _items(value)))
        if isinstance(value, type):
            inner: Mapping[str, object] | None = vars(value) if value.__module__ == module.__name__ else None
        else:
            inner = _inner(value)
        for attribute, held in list(inner.items()) if inner else ():
            if not attribute.startswith("__"):
                found[f"{name}.{attribute}"] = (kind_of(held), (id(held), _items(held)))
    return found
