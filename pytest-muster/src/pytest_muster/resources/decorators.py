"""`@shared` and `@worker`: each declares a resource and makes the fixture under which tests use it."""

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, overload

import pytest

from pytest_muster.resources import declarations, per_worker
from pytest_muster.resources import shared as shared_module
from pytest_muster.resources.declarations import Function, Scope


@overload
def shared(function: Function, /) -> Function: ...
@overload
def shared(*, timeout: float = ..., always: bool = ..., name: str | None = ...) -> Callable[[Function], Function]: ...
def shared(
    function: Function | None = None, /, *, timeout: float = 30.0, always: bool = False, name: str | None = None
) -> Function | Callable[[Function], Function]:
    """Declare something that lives once per run, such as a database server.

    It starts after collection and before the first test if a collected test needs it, or `always`; its set-up may
    take `timeout` seconds, and so may its teardown, which comes once, after the last worker is gone.
    If its set-up calls `pytest.skip`, the tests that need it are skipped.
    """

    def declare(function: Function) -> Function:
        declaration = declarations.declare(function, Scope.SHARED, timeout=timeout, always=always, name=name)

        @wraps(function)
        def published(request: pytest.FixtureRequest) -> Any:
            return shared_module.value_of(request.config, declaration)

        return _fixture(published, declaration.name, ("request",))

    return declare if function is None else declare(function)


@overload
def worker(function: Function, /) -> Function: ...
@overload
def worker(*, timeout: float = ..., name: str | None = ...) -> Callable[[Function], Function]: ...
def worker(
    function: Function | None = None, /, *, timeout: float = 30.0, name: str | None = None
) -> Function | Callable[[Function], Function]:
    """Declare something that each worker has for itself, such as a client or a database of its own.

    If its set-up fails, or takes longer than `timeout` seconds, every test of that worker that needs it is reported as
    infrastructure at once.
    """

    def declare(function: Function) -> Function:
        declaration = declarations.declare(function, Scope.WORKER, timeout=timeout, always=False, name=name)

        @wraps(function)
        def provided(**given: Any) -> Any:
            config = given["request"].config
            arguments = {parameter: given[parameter] for parameter in declaration.parameters}
            yield from per_worker.provide(config, declaration, arguments)

        names = declaration.parameters if "request" in declaration.parameters else ("request", *declaration.parameters)
        return _fixture(provided, declaration.name, names)

    return declare if function is None else declare(function)


def _fixture(function: Function, name: str, parameters: Iterable[str]) -> Function:
    """A session fixture with these parameters; its location and docstring are those of the function it wraps."""
    kind = inspect.Parameter.KEYWORD_ONLY
    signature = inspect.Signature([inspect.Parameter(parameter, kind) for parameter in parameters])
    function.__signature__ = signature  # type: ignore[attr-defined]  # where `inspect.signature` looks first
    return pytest.fixture(scope="session", name=name)(function)
