"""Declares what tests need beyond fixtures: `@shared` things live once per run, `@worker` things once per worker.

A shared function runs in the process that owns the run, where no test and no fixture lives.
Its parameters are other shared resources, by name, and `muster_run`.
What it returns, or yields, is plain data; every worker finds it under the resource's name as an ordinary
session-scoped fixture.
A worker function is such a fixture itself: its parameters are session fixtures, shared resources and `muster_worker`.
Both may be plain functions, generators, coroutines or asynchronous generators.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any

Function = Callable[..., Any]  # what users decorate: any parameters, any answer
RUN_WORKSPACE = "muster_run"


class Scope(StrEnum):
    SHARED = "shared"
    WORKER = "worker"


class DeclarationError(Exception):
    """A resource is declared in a way that cannot work."""


@dataclass(frozen=True, kw_only=True)
class Declaration:
    name: str
    scope: Scope
    function: Function
    parameters: tuple[str, ...]
    timeout: float
    """Seconds that the set-up may take, and again the teardown."""
    always: bool
    """Whether it starts although no collected test names it."""

    @property
    def file(self) -> Path:
        return Path(self.function.__code__.co_filename)

    @property
    def location(self) -> str:
        """`file:line`, to be shown to people."""
        return f"{short(self.file)}:{self.function.__code__.co_firstlineno}"


# A decorator runs when its module is imported, before there is anything else that could hold what it declares.
_declared: dict[str, Declaration] = {}


def declared(scope: Scope = Scope.SHARED) -> dict[str, Declaration]:
    """What this process has imported so far."""
    return {name: declaration for name, declaration in _declared.items() if declaration.scope is scope}


def declare(function: Function, scope: Scope, *, timeout: float, always: bool, name: str | None) -> Declaration:
    if not inspect.isfunction(function):
        raise DeclarationError(
            f"@muster.{scope} is for functions, not for {function!r}; leave out @pytest.fixture, "
            "since it makes the fixture itself"
        )
    parameters = tuple(
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    )
    declaration = Declaration(
        name=name or function.__name__,
        scope=scope,
        function=function,
        parameters=parameters,
        timeout=timeout,
        always=always,
    )
    other = _declared.get(declaration.name)
    if other and other.location != declaration.location:
        raise DeclarationError(
            f"two resources are named {declaration.name!r}: at {other.location} and at {declaration.location}; "
            f"rename one of them, or give it another name: @muster.{scope}(name=...)"
        )
    _declared[declaration.name] = declaration
    return declaration


def needed(names: Iterable[str], among: Mapping[str, Declaration]) -> tuple[Declaration, ...]:
    """The named resources, those that always start, and all they depend on; each after what it depends on.

    Raises DeclarationError for a cycle and for a parameter that is no shared resource.
    """
    ordered: dict[str, Declaration] = {}

    def visit(declaration: Declaration, path: tuple[str, ...]) -> None:
        if declaration.name in path:
            circle = (*path[path.index(declaration.name) :], declaration.name)
            locations = ", ".join(f"{name} at {among[name].location}" for name in circle[:-1])
            raise DeclarationError(
                f"shared resources depend on each other in a circle: {' → '.join(circle)} ({locations}); "
                "take one parameter away"
            )
        if declaration.name in ordered:
            return
        for parameter in declaration.parameters:
            if parameter == RUN_WORKSPACE:
                continue
            if parameter not in among:
                raise _unknown(declaration, parameter, among)
            visit(among[parameter], (*path, declaration.name))
        ordered[declaration.name] = declaration

    wanted = set(names)
    for name, declaration in among.items():
        if name in wanted or declaration.always:
            visit(declaration, ())
    return tuple(ordered.values())


def _unknown(declaration: Declaration, parameter: str, among: Mapping[str, Declaration]) -> DeclarationError:
    close = get_close_matches(parameter, [*among, RUN_WORKSPACE], n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"make {parameter!r} shared as well"
    return DeclarationError(
        f"shared resource {declaration.name!r} at {declaration.location} asks for {parameter!r}, which is no shared "
        f"resource. It runs once, where no fixtures are, so its parameters can be other shared resources and "
        f"{RUN_WORKSPACE!r}; {hint}, or declare {declaration.name!r} with @muster.worker"
    )


def short(file: str | Path) -> str:
    """A file as people read it: relative to the current directory if it is below that."""
    path = Path(file)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
