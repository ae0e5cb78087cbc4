"""What an error was, as data: its classes, errno, address, the project's frames, and what was None or empty in them.

The words of an error often say nothing of its cause, so this looks at what they were said about: the names in the
failing expression and the globals that the frames referred to. Of values it keeps the kind, never the content.
"""

import ast
import builtins
import dis
import linecache
import subprocess
import textwrap
from collections.abc import Callable, Generator, Iterable, Iterator
from types import CodeType, FrameType, ModuleType, TracebackType
from typing import Any

import pytest

from pytest_muster.records.project import Project
from pytest_muster.records.run import Run, run_of
from pytest_muster.records.value_kinds import is_empty, own_members, variables

MAX_CHAIN = 16
MAX_FRAMES = 30
MAX_GLOBALS = 60
MAX_MESSAGE_LENGTH = 4000  # characters
MAX_TEXT_LENGTH = 100_000  # characters
MAX_INSPECTED_FRAMES = 4
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
            error = mask.line({**error, "phase": report.when, "text": report.longreprtext[-MAX_TEXT_LENGTH:]})
            report.muster = {**getattr(report, "muster", {}), "error": error}  # type: ignore[attr-defined]
        return report


def describe(error: BaseException, project: Project) -> dict[str, Any]:
    """The structured error of the record, without `phase` and `text`; see `record`."""
    chain = list(_chain(error))
    tracebacks = [list(_project_tracebacks(one.__traceback__, project)) for one in chain]
    own = next((found for found in tracebacks if found), [])
    innermost = [link.tb_frame for link in own[-MAX_INSPECTED_FRAMES:]][::-1]
    names = _names_in_failing_lines(own[-MAX_INSPECTED_FRAMES:])
    none_names = sorted(name for name, value in names.items() if value is None)
    touched_none = any(value is None for value in _names_in_failing_lines(own[-1:]).values())
    return {
        "kind": type(error).__name__,
        "kinds": [type(one).__name__ for one in chain],
        "message": _message(error),
        "errno": next((one.errno for one in chain if isinstance(one, OSError) and one.errno is not None), None),
        "address": next((address for one in chain if (address := _address(one)) is not None), None),
        "frames": [_frame(link, project) for link in own[-MAX_FRAMES:]],
        "timed_out": any(_is_time_out(one) for one in chain),
        "none": any(_is_about_none(one, touched_none) for one in chain),
        "none_names": none_names,
        "empty_names": sorted({name for name, value in names.items() if is_empty(value)} | set(_empty_parts(chain))),
        "globals": _globals(innermost, project),
    }


def undescribed(error: BaseException, why: Exception) -> dict[str, Any]:
    """What remains to be said about an error that could not be described."""
    kind = type(error).__name__
    return {
        "kind": kind,
        "kinds": [kind],
        "message": f"{_message(error)} (it could not be looked at: {type(why).__name__})",
        "errno": None,
        "address": None,
        "frames": [],
        "timed_out": False,
        "none": False,
        "none_names": [],
        "empty_names": [],
        "globals": {},
    }


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, its causes, and those of the errors in a group; each once."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < MAX_CHAIN:
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
        return str(error)[:MAX_MESSAGE_LENGTH]
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


def _is_time_out(error: BaseException) -> bool:
    """Whether a limit of time was over: by the error's class, or because pytest-timeout raised it."""
    if isinstance(error, TimeoutError | subprocess.TimeoutExpired):
        return True
    link = error.__traceback__
    while link is not None:
        if link.tb_frame.f_globals.get("__name__") == "pytest_timeout":
            return True
        link = link.tb_next
    return False


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
        if len(found) >= MAX_GLOBALS:
            break
    return dict(list(found.items())[:MAX_GLOBALS])


_LOADS = {"LOAD_GLOBAL", "LOAD_NAME"}
