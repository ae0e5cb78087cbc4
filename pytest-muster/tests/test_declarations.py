"""Shared and worker resources are declared as functions; what cannot work is refused with who, where and what to do."""

from pathlib import Path

import pytest

from pytest_muster.resources import declarations, decorators
from pytest_muster.resources.declarations import DeclarationError, Scope, needed
from pytest_muster.resources.values import NotPlain, plain


def declared(function, name=None, *, always=False):
    made = declarations.declare(function, Scope.SHARED, timeout=1, always=always, name=name)
    declarations._declared.pop(made.name)
    return made


def among(*functions):
    return {made.name: made for made in map(declared, functions)}


def names(declarations):
    return [declaration.name for declaration in declarations]


def database():
    """Nothing needs it here."""


def migrated(database): ...


def service(migrated, database, muster_run): ...


def unneeded(): ...


def test_what_is_needed_comes_after_what_it_needs():
    assert names(needed(["service"], among(service, unneeded, migrated, database))) == [
        "database",
        "migrated",
        "service",
    ]


def test_what_always_starts_is_needed_by_nobody():
    always = declared(unneeded, always=True)

    assert names(needed([], {"unneeded": always, **among(database)})) == ["unneeded"]


def test_a_circle_is_named_with_its_places():
    def a(c): ...

    def b(a): ...

    def c(b): ...

    with pytest.raises(DeclarationError, match=r"circle: a → c → b → a \(a at .*test_declarations.py:\d+, c at"):
        needed(["a"], among(a, b, c))


@pytest.mark.parametrize(
    ("parameter", "hint"),
    [
        ("databse", "did you mean 'database'"),
        ("tmp_path", "make 'tmp_path' shared as well"),
        ("muster_rum", "muster_run"),
    ],
)
def test_a_parameter_that_is_no_shared_resource_is_refused(parameter, hint):
    namespace = {}
    exec(compile(f"def broken({parameter}): ...", "suite/conftest.py", "exec"), namespace)  # noqa: S102

    with pytest.raises(DeclarationError) as refused:
        needed(["broken"], among(namespace["broken"], database))

    message = str(refused.value)
    assert f"'broken' at suite/conftest.py:1 asks for '{parameter}'" in message
    assert hint in message
    assert "@muster.worker" in message


def test_a_parameter_with_a_default_is_not_asked_for():
    def server(port=0, *arguments, **options): ...

    assert declared(server).parameters == ()


def test_a_second_resource_of_a_name_is_refused_with_both_places():
    def only_once(): ...

    first = declarations.declare(only_once, Scope.SHARED, timeout=1, always=False, name=None)
    try:

        def other(): ...

        with pytest.raises(DeclarationError, match=r"'only_once': at .*:\d+ and at .*:\d+; rename"):
            declarations.declare(other, Scope.WORKER, timeout=1, always=False, name="only_once")
    finally:
        declarations._declared.pop(first.name)


def test_only_functions_are_declared():
    with pytest.raises(DeclarationError, match="is for functions"):
        decorators.shared(object())


@pytest.mark.parametrize(
    "value", [None, True, 1, 1.5, "x", [], {}, {"a": [1, {"b": None}]}, [[["deep"]]], {"": ""}, {"ä": "\ud7ff"}]
)
def test_plain_data_arrives_as_it_was_published(value):
    copy = plain("thing", value)

    assert copy == value
    assert copy is not value or not isinstance(value, list | dict)


@pytest.mark.parametrize(
    ("value", "path", "advice"),
    [
        (object(), "thing of type object", "publish what a worker needs to make its own"),
        ({"a": [0, (1, 2)]}, "thing['a'][1] of type tuple", "make it a list"),
        ({"a": {1, 2}}, "thing['a'] of type set", "sorted list"),
        ({"secret": b"x"}, "thing['secret'] of type bytes", "decode it"),
        ({"dir": Path("/x")}, "thing['dir'] of type PosixPath", "str(path)"),
        ([float("nan")], "thing[0] of type float (nan)", "JSON"),
        ({"a": {1: 2}}, "the key 1 of type int in thing['a']", "keys must be strings"),
    ],
)
def test_what_json_would_lose_is_refused_with_its_path(value, path, advice):
    with pytest.raises(NotPlain) as refused:
        plain("thing", value)

    assert path in str(refused.value)
    assert advice in str(refused.value)


def test_what_is_declared_is_a_fixture_with_the_docstring_and_the_place_of_its_function(nested):
    nested.write(
        "conftest.py",
        """
        import pytest_muster as muster

        @muster.shared
        def database():
            '''One PostgreSQL for all.'''

        @muster.worker(name="client")
        def make_client(database):
            '''A client for this worker.'''
        """,
    )

    done = nested.run("--fixtures")

    assert "database [session scope] -- conftest.py:4" in done.out
    assert "One PostgreSQL for all." in done.out
    assert "client [session scope] -- conftest.py:8" in done.out


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_wrong_declaration_ends_the_run_before_any_test(nested, workers):
    nested.write(
        "conftest.py",
        """
        import pytest_muster as muster

        @muster.shared
        def database(tmp_path): ...
        """,
    )
    nested.write("test_it.py", "def test_it(database): ...")

    done = nested.run("-n", workers)

    assert done.code == pytest.ExitCode.USAGE_ERROR
    assert "'database' at conftest.py:4 asks for 'tmp_path', which is no shared resource" in done.out
    assert done.of("test") == []


def test_a_resource_that_nobody_could_see_to_be_needed_is_refused(nested):
    nested.write(
        "conftest.py",
        """
        import pytest_muster as muster

        @muster.shared
        def database(): ...

        @muster.shared(always=True)
        def queue(): return "up"
        """,
    )
    nested.write(
        "test_it.py",
        """
        def test_late(request): request.getfixturevalue("database")
        def test_always(request): assert request.getfixturevalue("queue") == "up"
        """,
    )

    done = nested.run("-n", "1")

    assert "'database' at conftest.py:4 was not started" in done.out
    assert "@muster.shared(always=True)" in done.out
    assert "1 failed, 1 passed" in done.out
