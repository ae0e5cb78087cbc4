"""CEL expressions: the library behind them, and the functions that Kubernetes adds to the language."""

import importlib.machinery
import importlib.util
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

_MODULE = "cel.cel"
_MAX_LENGTH = 8192  # characters; the library's parser limits nesting, but recurses on long chains
_SIZE = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|\bsize(?=\s*\()""")


@cache
def cel_library() -> ModuleType:
    """Return the CEL library without the command line of its package, which takes 0.2 s to import."""
    if _MODULE in sys.modules:
        return sys.modules[_MODULE]
    package = importlib.util.find_spec("cel")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("CEL rules need the package common-expression-language")
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = Path(package.origin).with_name(f"cel{suffix}")
        if path.exists():
            spec = importlib.util.spec_from_file_location(_MODULE, path)
            if spec is not None and spec.loader is not None:
                # Loading it a second time would panic, so whoever imports the package finds this one.
                module = sys.modules[_MODULE] = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
                return module
    import cel  # no extension module beside the package: its own import knows where

    found: ModuleType = cel
    return found


def _is_panic(error: BaseException) -> bool:
    """Tell whether this is a panic of the library, which is no Exception for Python."""
    return type(error).__name__ == "PanicException"


class InvalidRule(Exception):
    """A rule is no valid CEL."""


class Program:
    """One compiled expression and the extension functions it calls."""

    def __init__(self, source: str) -> None:
        if len(source) > _MAX_LENGTH:
            raise InvalidRule(f"<input>:1:1: longer than {_MAX_LENGTH} characters")
        try:
            self._program = cel_library().compile(source)
            called = self._program.functions()
        except BaseException as error:
            if not isinstance(error, ValueError) and not _is_panic(error):
                raise
            raise InvalidRule(str(error).partition("ERROR: ")[2] or str(error)) from None
        self._source = source
        self._uses_size = "size" in called
        self._functions: dict[str, Any] = {name: _EXTENSIONS[name] for name in called if name in _EXTENSIONS}

    def evaluate(self, variables: dict[str, Any]) -> Any:
        # The library's size() counts bytes, where CEL counts characters.
        if self._uses_size and not str(variables).isascii():
            return compile_expression(_SIZE.sub(lambda match: match[1] or "characters", self._source)).evaluate(
                variables
            )
        try:
            return self._program.execute({**variables, **self._functions})
        except BaseException as error:
            if _is_panic(error):
                raise ArithmeticError(str(error)) from None
            raise


@cache
def compile_expression(source: str) -> Program:
    """Return the compiled form of an expression; raise InvalidRule for one that is no CEL."""
    return Program(source)


def check_syntax(source: str) -> None:
    """Raise InvalidRule when this is no CEL expression."""
    compile_expression(source)


def _index_of(where: Any, what: Any, start: int = 0) -> int:
    if isinstance(where, str):
        return where.find(what, start)
    return where.index(what) if what in where else -1


def _last_index_of(where: Any, what: Any) -> int:
    if isinstance(where, str):
        return where.rfind(what)
    return next((i for i in range(len(where) - 1, -1, -1) if where[i] == what), -1)


def _find(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    return found.group() if found else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = [match.group() for match in re.finditer(pattern, text)]
    return found if limit < 0 else found[:limit]


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if not separator:
        return list(text)
    return text.split(separator, limit - 1 if limit > 0 else -1)


def _replace(text: str, old: str, new: str, limit: int = -1) -> str:
    return text.replace(old, new, limit)


def _substring(text: str, start: int, end: int | None = None) -> str:
    return text[start:end]


_EXTENSIONS: dict[str, Callable[..., Any]] = {
    "characters": len,
    "isSorted": lambda items: list(items) == sorted(items),
    "sum": sum,
    "indexOf": _index_of,
    "lastIndexOf": _last_index_of,
    "lowerAscii": lambda text: "".join(c.lower() if c.isascii() else c for c in text),
    "upperAscii": lambda text: "".join(c.upper() if c.isascii() else c for c in text),
    "trim": lambda text: text.strip(),
    "split": _split,
    "join": lambda items, separator="": separator.join(items),
    "replace": _replace,
    "substring": _substring,
    "charAt": lambda text, index: text[index : index + 1],
    "reverse": lambda text: text[::-1],
    "find": _find,
    "findAll": _find_all,
    "isURL": lambda text: re.match(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s]+", text) is not None or text.startswith("/"),
}
