"""The variables of a project's modules: their kinds, and which of them a test left changed.

A module's fingerprint is shallow: the identities of its values, of the attributes of its classes and objects, and of
the items of the containers among all these. It reads no property and calls nothing of the project. What a test takes
out of such a container lives until the next comparison, at the end of that test. The tests themselves are left out:
most of what test modules hold is tests, and nobody puts another function in the place of one.

A comparison costs about 60 ns a value. `ChangeDetector` sees to it that comparing a big project takes no more than
`BUDGET` a test on average: it then compares after every second test, every third, …, and always after a failure.
"""

import contextlib
import functools
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from operator import call, itemgetter
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

from pytest_muster.records.project import Project
from pytest_muster.records.value_kinds import is_variable, kind_of

MAX_NAMES = 200
MAX_ITEMS = 64
"""The items of bigger containers are not compared, only their number."""
MAX_CHANGES = 50
MAX_ATTEMPTS = 10  # to see a dictionary that somebody changes meanwhile
COST = 60e-9  # seconds a value
BUDGET = 100e-6  # seconds a test

_identity = object.__hash__  # `id` would call every audit hook
_CACHE = type(functools.lru_cache(lambda: None))


class ModuleState:
    """The loaded modules of a project, as they were when they were last compared."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._loaded = -1
        self._modules: dict[str, ModuleType] = {}
        self._snapshots: dict[str, _ModuleSnapshot] = {}
        self._all: _Content | None = None
        """What all snapshots together look at."""
        self._fingerprint: _Fingerprint | None = None
        self.values = 0
        """How many values one comparison goes through."""

    def modules(self) -> Mapping[str, ModuleType]:
        if len(sys.modules) != self._loaded:
            self._loaded = len(sys.modules)
            self._modules = {
                name: module
                for name, module in _items(sys.modules)
                if issubclass(type(module), ModuleType) and self.project.relative(_file(module)) is not None
            }
        return self._modules

    def kinds(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Per module, the kinds of its variables, and of what its own classes and the objects of such ones hold."""
        for name, module in list(self.modules().items()):
            kinds: dict[str, str] = {}
            attributes: dict[str, str] = {}
            for variable, value in _items(vars(module)):
                if variable.startswith(("__", "@")):
                    continue
                if is_variable(value):
                    kinds[variable] = kind_of(value)
                attributes |= {
                    f"{variable}.{attribute}": kind_of(held)
                    for attribute, held in _items(self._held(value, module))
                    if not attribute.startswith("__") and is_variable(held) and not hasattr(type(held), "__get__")
                }
            found = dict(list((kinds | attributes).items())[:MAX_NAMES])
            if found:
                yield name, found

    def _held(self, value: object, module: ModuleType) -> Mapping[str, object]:
        cls = type(value)
        if not issubclass(cls, type) and cls is not SimpleNamespace and cls.__module__ not in self._modules:
            return {}
        return _inner(value, module) or {}

    def changes(self) -> list[dict[str, str]]:
        """What changed since the last call; a module that is new since then is only taken in."""
        known = self._modules
        if self.modules() is known and self._all is not None and self._is_unchanged():
            return []
        found: dict[tuple[int, str, str], dict[str, str]] = {}
        for name, module in list(self.modules().items()):
            snapshot = self._snapshots.get(name)
            if snapshot is not None and snapshot.module is module:
                if snapshot.is_unchanged():
                    continue
                fresh = _ModuleSnapshot(module)
                for change, identity in snapshot.compared_with(fresh):
                    key = (identity, change["was"], change["now"])
                    # A test module that imports a variable shows the same change as the module it belongs to.
                    if key not in found or _is_of_tests(found[key]["module"]):
                        found[key] = change
            else:
                fresh = _ModuleSnapshot(module)
            self.values += fresh.size - (snapshot.size if snapshot else 0)
            self._snapshots[name] = fresh
        self._all = _Content.of(snapshot.content for snapshot in self._snapshots.values())
        self._fingerprint = self._all.fingerprint()
        return list(found.values())[:MAX_CHANGES]

    def _is_unchanged(self) -> bool:
        """At one go: most tests change nothing in any module."""
        return self._all is not None and None is not self._fingerprint == self._all.fingerprint()


class ChangeDetector:
    """Decides after which tests to compare, and says since which test the changes may have happened."""

    def __init__(self, module_state: ModuleState) -> None:
        self._state = module_state
        self._pending = 0
        self._since: str | None = None

    def after_test(self, test: str, *, failed: bool) -> tuple[list[dict[str, str]], str]:
        """The changes, and the first of the tests that may have made them."""
        self._pending += 1
        since = self._since = self._since or test
        if self._pending * BUDGET < self._state.values * COST and not failed:
            return [], since
        self._pending, self._since = 0, None
        return self._state.changes(), since


_Fingerprint = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class _Content:
    """What is looked at; it follows what becomes of that."""

    views: list[Iterable[object]] = field(default_factory=list)
    getters: list[Callable[[Mapping[str, object]], tuple[object, ...]]] = field(default_factory=list)
    """Each takes some of the values of the dictionary that stands at its place in `members`."""
    members: list[Mapping[str, object]] = field(default_factory=list)
    sized: list[Collection[object]] = field(default_factory=list)
    caches: list[Callable[[], Any]] = field(default_factory=list)

    @classmethod
    def of(cls, parts: Iterable["_Content"]) -> "_Content":
        found = cls()
        for part in parts:
            found.views.extend(part.views)
            found.getters.extend(part.getters)
            found.members.extend(part.members)
            found.sized.extend(part.sized)
            found.caches.extend(part.caches)
        return found

    def fingerprint(self) -> _Fingerprint | None:
        """None if another thread changes some of it right now, or if a name is gone."""
        try:
            return (
                tuple(map(_identity, chain.from_iterable(chain(self.views, map(call, self.getters, self.members))))),
                tuple(map(len, self.sized)),
                tuple(cache().currsize for cache in self.caches) if self.caches else (),
            )
        except (RuntimeError, KeyError):
            return None


class _ModuleSnapshot:
    """One module as it was at one moment."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.content = _Content()
        self.details: dict[str, tuple[int, str, Any]] = {}
        self._has_tests = _is_of_tests(module.__name__)
        for name, value in self._add_members(vars(module)):
            self._add(name, value)
            inner = _inner(value, module)
            if inner is not None:
                for attribute, held in self._add_members(inner):
                    self._add(f"{name}.{attribute}", held)
        self._fingerprint = self.content.fingerprint()
        self.size = len(self._fingerprint[0]) if self._fingerprint else 0

    def _add_members(self, members: Mapping[str, object]) -> list[tuple[str, object]]:
        """What of these is looked at, and has details of its own."""
        found = _items(members)
        kept = [pair for pair in found if not pair[0].startswith(("__", "@")) and not self._is_test(*pair)]
        if len(kept) == len(found):
            self.content.views.append(members.values())
            return kept
        self.content.sized.append(members)  # a name more is seen by this
        if kept:
            names = [name for name, _ in kept]
            self.content.getters.append(itemgetter(*names, names[0]))  # what gets one name is no tuple
            self.content.members.append(members)
        return kept

    def _is_test(self, name: str, value: object) -> bool:
        return self._has_tests and name.startswith("test") and type(value) is FunctionType

    def _add(self, name: str, value: object) -> None:
        cls = type(value)
        content: Any = None
        if cls is dict or cls is list or cls is deque:
            size = len(value)  # type: ignore[arg-type]  # the class is known
            if size > MAX_ITEMS:
                self.content.sized.append(value)  # type: ignore[arg-type]
                content = size
            else:
                items: Iterable[object] = value.values() if cls is dict else value  # type: ignore[attr-defined,assignment]
                self.content.views.append(items)
                try:
                    content = tuple(map(_identity, items))
                except RuntimeError:  # another thread changes it right now
                    content = size
        elif cls is set or cls is bytearray:
            self.content.sized.append(value)  # type: ignore[arg-type]
            content = len(value)  # type: ignore[arg-type]
        elif cls is _CACHE:
            self.content.caches.append(value.cache_info)  # type: ignore[attr-defined]
            content = value.cache_info().currsize  # type: ignore[attr-defined]
        kind = f"cache of {content}" if cls is _CACHE else kind_of(value)
        self.details[name] = (_identity(value), kind, content)

    def is_unchanged(self) -> bool:
        return self.content.fingerprint() == self._fingerprint

    def compared_with(self, later: "_ModuleSnapshot") -> Iterator[tuple[dict[str, str], int]]:
        """The changes, each with the identity of what there is now."""
        nothing = (0, "missing", None)
        for name in dict.fromkeys([*self.details, *later.details]):
            was, now = self.details.get(name, nothing), later.details.get(name, nothing)
            if was != now and not (was is nothing and _is_code(later.module, name)):
                yield {"module": self.module.__name__, "name": name, "was": was[1], "now": now[1]}, now[0]


def _items(members: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What a dictionary of the project holds now.

    To make the list allocates, which may collect garbage, and what is run for that, such as a callback of a weak
    reference, may change the dictionary under our feet; then it is made again.
    """
    for _ in range(MAX_ATTEMPTS):
        with contextlib.suppress(RuntimeError):
            return list(members.items())
    return []


def _inner(value: object, module: ModuleType) -> Mapping[str, object] | None:
    """The attributes of a class of this module, or of an object; None for other code, and for what has none."""
    if issubclass(type(value), type):
        members = type.__getattribute__(value, "__dict__")
        return members if members.get("__module__") == module.__name__ else None
    if not is_variable(value) or type(value) is _CACHE:
        return None
    try:
        members = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return members if type(members) is dict else None


def _is_code(module: ModuleType, name: str) -> bool:
    """Whether a name of a module stands for a module, such as one that was imported just now."""
    return issubclass(type(vars(module).get(name)), ModuleType)


def _is_of_tests(module: str) -> bool:
    last = module.rpartition(".")[2]
    return last == "conftest" or last.startswith("test_") or last.endswith("_test")


def _file(module: ModuleType) -> str:
    file = vars(module).get("__file__")  # a lazy module would be loaded by getattr
    return file if isinstance(file, str) else ""
