"""What an error was, as data: its classes, errno, address, the project's frames, and what was None or empty in them.

The words of an error often say nothing of its cause, so this looks at what they were said about: the names in the
failing expression and the globals that the frames referred to. Of values it keeps the kind, never the content.
"""

import ast
import builtins
import dis
import linecache
import sys
import textwrap
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sized
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, ModuleType, TracebackType
from typing import Any

import pytest

from pytest_muster.records.run import Run, run_of

DEEPEST_CHAIN = 16
MOST_FRAMES = 30
MOST_GLOBALS = 60
MOST_MESSAGE = 4000  # characters
MOST_TEXT = 100_000  # characters
INNERMOST = 4
"""So many of the project's frames, counted from the failing one, are asked for names and globals."""


LAST_ADDRESS = pytest.StashKey[Callable[[], str | None]]()
"""Where the last connection of the current phase went to, if anybody listens to that."""


def pytest_configure(config: pytest.Config) -> None:
    run = run_of(config)
    if run.runs_tests:
        config.pluginmanager.register(_Errors(config, run), "muster-errors")


class _Errors:
    def __init__(self, config: pytest.Config, run: Run) -> None:
        self.config = config
        self.run = run
        self.project = Project(config.rootpath)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.failed and call.excinfo is not None:
            try:
                error = describe(call.excinfo.value, self.project)
            except Exception as odd:  # noqa: BLE001  # objects of tests may do anything, and their error must be shown
                error = undescribed(call.excinfo.value, odd)
            if error["errno"] is not None and error["address"] is None:
                error["address"] = self.config.stash.get(LAST_ADDRESS, lambda: None)()
            mask = self.run.journal.mask
            error = mask.line({**error, "phase": report.when, "text": report.longreprtext[-MOST_TEXT:]})
            report.muster = {**getattr(report, "muster", {}), "error": error}  # type: ignore[attr-defined]
        return report


class Project:
    """Knows which files are the project's own: below its root, but of no environment that is installed there."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self._below = self.root.rstrip("/") + "/"
        self._foreign = tuple(
            {f"{Path(prefix)}/" for prefix in (sys.prefix, sys.base_prefix) if f"{prefix}/".startswith(self._below)}
        )
        self._known: dict[str, str | None] = {}

    def relative(self, file: str) -> str | None:
        """The path below the root, or None for a file of others."""
        try:
            return self._known[file]
        except KeyError:
            answer = self._known[file] = self._relative(file)
            return answer

    def _relative(self, file: str) -> str | None:
        if not file.startswith(self._below) or file.startswith(self._foreign) or "/site-packages/" in file:
            return None
        return file[len(self._below) :]


def describe(error: BaseException, project: Project) -> dict[str, Any]:
    """The structured error of the record, without `phase` and `text`; see `record`."""
    chain = list(_chain(error))
    tracebacks = [list(_project_tracebacks(one.__traceback__, project)) for one in chain]
    own = next((found for found in tracebacks if found), [])
    innermost = [link.tb_frame for link in own[-INNERMOST:]][::-1]
    names = _names_in_failing_lines(own[-INNERMOST:])
    none_names = sorted(name for name, value in names.items() if value is None)
    touched_none = any(value is None for value in _names_in_failing_lines(own[-1:]).values())
    return {
        "kind": type(error).__name__,
        "kinds": [type(one).__name__ for one in chain],
        "message": _message(error),
        "errno": next((one.errno for one in chain if isinstance(one, OSError) and one.errno is not None), None),
        "address": next((address for one in chain if (address := _address(one)) is not None), None),
        "frames": [_frame(link, project) for link in own[-MOST_FRAMES:]],
        "none": any(_is_about_none(one, touched_none) for one in chain),
        "none_names": none_names,
        "empty_names": sorted({name for name, value in names.items() if _is_empty(value)} | set(_empty_parts(chain))),
        "globals": _globals(innermost, project),
    }


def undescribed(error: BaseException, why: Exception) -> dict[str, Any]:
    """What remains to be said about an error that resisted its description."""
    kind = type(error).__name__
    return {
        "kind": kind,
        "kinds": [kind],
        "message": f"{_message(error)} (it could not be looked at: {type(why).__name__})",
        "errno": None,
        "address": None,
        "frames": [],
        "none": False,
        "none_names": [],
        "empty_names": [],
        "globals": {},
    }


def kind_of(value: object) -> str:
    """`None`, `empty str`, `list of 3`, `Client`, …: enough to see that something is missing, never what it is."""
    if value is None:
        return "None"
    name = type(value).__name__
    if type(value) in _SIZED:
        size = len(value)  # type: ignore[arg-type]  # sized by the line above
        if not size:
            return f"empty {name}"
        return name if isinstance(value, str | bytes) else f"{name} of {size}"
    return name


_SIZED = {str, bytes, bytearray, list, tuple, dict, set, frozenset}


def is_variable(value: object) -> bool:
    """Whether a global is state, rather than code. Asks its real class only: a proxy's answer may be an error."""
    return not issubclass(type(value), ModuleType | FunctionType | BuiltinFunctionType | type)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, its causes, and those of the errors in a group; each once."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < DEEPEST_CHAIN:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, BaseExceptionGroup):
            waiting.extend(one.exceptions)
        cause = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
        if cause is not None:
            waiting.append(cause)


def _project_tracebacks(traceback: TracebackType | None, project: Project) -> Iterator[TracebackType]:
    while traceback is not None:
        if project.relative(traceback.tb_frame.f_code.co_filename) is not None:
            yield traceback
        traceback = traceback.tb_next


def _frame(link: TracebackType, project: Project) -> dict[str, Any]:
    code = link.tb_frame.f_code
    return {
        "file": project.relative(code.co_filename),
        "line": link.tb_lineno,
        "function": code.co_qualname,
        "code": linecache.getline(code.co_filename, link.tb_lineno).strip(),
    }


def _message(error: BaseException) -> str:
    try:
        return str(error)[:MOST_MESSAGE]
    except Exception as broken:  # noqa: BLE001  # an error's own __str__ may do anything
        return f"<{type(broken).__name__} when its message was asked for>"


def _address(error: BaseException) -> str | None:
    """What an operating system error is about."""
    if not isinstance(error, OSError):
        return None
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    if names:
        return " -> ".join(names)
    for part in error.args:
        if isinstance(part, tuple) and len(part) >= 2:
            return f"{part[0]}:{part[1]}"
    return None


def _is_about_none(error: BaseException, touched_none: bool) -> bool:
    if isinstance(error, AttributeError):
        return error.obj is None and error.name is not None
    return isinstance(error, TypeError) and (touched_none or "NoneType" in _message(error))


def _names_in_failing_lines(links: Iterable[TracebackType]) -> dict[str, object]:
    """The plain names and attributes of the failing expressions, and what they were bound to."""
    found: dict[str, object] = {}
    for link in links:
        frame = link.tb_frame
        for name in _names_in(_failing_source(frame.f_code, link.tb_lasti)):
            try:
                found.setdefault(name, _value_of(name, frame))
            except LookupError:
                continue
    return found


def _failing_source(code: CodeType, lasti: int) -> str:
    """The source of the expression that an instruction evaluates, or of its line."""
    positions = list(code.co_positions())
    start, end, column, end_column = positions[lasti // 2] if 0 <= lasti // 2 < len(positions) else (None,) * 4
    if start is None or end is None:
        return ""
    if end - start > 30:
        end = start
    lines = [linecache.getline(code.co_filename, number) for number in range(start, end + 1)]
    if start == end and column is not None and end_column is not None:
        # Columns count bytes of UTF-8. An assertion is rewritten by pytest and keeps the whole statement's columns.
        return lines[0].encode()[column:end_column].decode(errors="replace").strip()
    return textwrap.dedent("".join(lines)).strip()


def _names_in(source: str) -> list[str]:
    tree = _parsed(source)
    if tree is None:
        return []
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not hasattr(builtins, node.id):
            names.append(node.id)
        elif isinstance(node, ast.Attribute) and (path := _dotted(node)):
            names.append(path)
    return names


def _parsed(source: str) -> ast.AST | None:
    # A statement that opens a block, such as `with`, is no statement without one.
    for text in (source, f"{source}\n    pass", source.rstrip(":")):
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError):
            continue
    return None


def _dotted(node: ast.expr) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None


def _value_of(dotted: str, frame: FrameType) -> object:
    """What a name means in a frame, without running any code of the object. Raises LookupError."""
    first, *rest = dotted.split(".")
    value: object = frame.f_locals[first] if first in frame.f_locals else frame.f_globals[first]
    for name in rest:
        value = _member(value, name)
    return value


def _member(value: object, name: str) -> object:
    """An attribute as it is kept in an object, its class or a class: no property is called. Raises LookupError."""
    members = own_members(value)
    if name in members:
        return members[name]
    for cls in type.mro(value) if issubclass(type(value), type) else type(value).__mro__:  # type: ignore[arg-type]
        if name in vars(cls):
            found: object = vars(cls)[name]
            if hasattr(type(found), "__get__"):
                break
            return found
    raise LookupError(name)


def own_members(value: object) -> Mapping[str, object]:
    """What an object keeps in its own `__dict__`."""
    try:
        members = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return members if isinstance(members, Mapping) else {}


def _is_empty(value: object) -> bool:
    return type(value) in _SIZED and isinstance(value, Sized) and not len(value)


def _empty_parts(chain: Iterable[BaseException]) -> Iterator[str]:
    for one in chain:
        if isinstance(one, KeyError) and one.args == ("",):
            yield "key"
        if isinstance(one, OSError) and one.filename == "":
            yield "path"


def _globals(frames: Iterable[FrameType], project: Project) -> dict[str, str]:
    """Kinds of the module-level variables that the code of these frames refers to, and of their attributes."""
    found: dict[str, str] = {}
    for frame in frames:
        attributes = frame.f_code.co_names
        loaded = [step.argval for step in dis.get_instructions(frame.f_code) if step.opname in _LOADS]
        found |= variables(frame.f_globals, loaded, attributes)
        for name in loaded:
            module = frame.f_globals.get(name)
            if issubclass(type(module), ModuleType) and project.relative(str(vars(module).get("__file__"))) is not None:
                found |= variables(vars(module), attributes, attributes)
        if len(found) >= MOST_GLOBALS:
            break
    return dict(list(found.items())[:MOST_GLOBALS])


_LOADS = {"LOAD_GLOBAL", "LOAD_NAME"}


def variables(members: Mapping[str, object], names: Iterable[str], attributes: Iterable[str]) -> dict[str, str]:
    """Kinds of a module's variables that are among `names`, and of those of their attributes that are asked for."""
    found: dict[str, str] = {}
    prefix = members.get("__name__", "?")
    for name in names:
        if name not in members or name.startswith(("__", "@")):
            continue
        value = members[name]
        if is_variable(value):
            found[f"{prefix}.{name}"] = kind_of(value)
        elif not issubclass(type(value), type) or type.__getattribute__(value, "__module__") != members.get("__name__"):
            continue
        inner = own_members(value)
        for attribute in attributes:
            if attribute in inner and is_variable(inner[attribute]) and not hasattr(type(inner[attribute]), "__get__"):
                found[f"{prefix}.{name}.{attribute}"] = kind_of(inner[attribute])
    return found
