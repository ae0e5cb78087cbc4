"""Errors that a command reports with a message and an exit code."""

from importlib import import_module

import pytest

from kubernaut.cli import errors
from kubernaut.cli.errors import CommandError, command_error
from kubernaut.embedded.errors import EmbeddedError


@pytest.mark.parametrize(("module", "name", "code"), [row[:3] for row in errors._KNOWN])
def test_every_known_error_exists(module, name, code):
    assert issubclass(getattr(import_module(module), name), Exception)
    assert code in (1, 2, 3)


def test_an_error_is_found_inside_nested_exception_groups():
    error = ExceptionGroup("outer", [ExceptionGroup("inner", [EmbeddedError("no PostgreSQL found")])])

    known = command_error(error)

    assert (str(known), known.code) == ("no PostgreSQL found", 3)


def test_a_missing_extra_names_the_command_that_installs_it():
    known = command_error(ModuleNotFoundError("No module named 'asyncpg'", name="asyncpg"))

    assert (str(known), known.code) == ("asyncpg is not installed", 2)
    assert known.hint == "pip install 'kubernaut-signalprocessing[all]'"


def test_an_unknown_error_is_a_defect():
    assert command_error(KeyError("x")) is None
    assert command_error(ModuleNotFoundError("No module named 'kubernaut.x'", name="kubernaut.x")) is None


def test_a_command_error_is_reported_as_it_is():
    error = CommandError("signal 'a' not found", hint="kubernaut signals list")

    assert command_error(error) is error
