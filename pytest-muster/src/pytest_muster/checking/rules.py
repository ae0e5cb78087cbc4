"""What a rule is, and the list of all of them."""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import import_module

from pytest_muster.checking.source import Source
from pytest_muster.checking.text_file import Span, TextFile

Hit = tuple[ast.AST | Span, str]
"""Where it is, and what is wrong there, in a clause with the names."""


class Level(StrEnum):
    ERROR = "error"
    """It breaks as soon as two workers run it."""
    WARNING = "warning"
    """It breaks some time, or hides why something else does."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    id: str
    name: str
    level: Level = Level.WARNING
    title: str
    """What it finds, in one sentence."""
    reason: str
    """Why that is a fault in tests that run in parallel."""
    remedy: str
    """What to do instead, in one sentence."""
    bad: str
    """Code in which it finds something."""
    good: str
    """The same, done well."""
    file: str = "test_example.py"
    """The name of the file that holds the examples."""
    check: Callable[[Source], Iterator[Hit]]
    """In Python."""
    check_text: Callable[[TextFile], Iterator[Hit]] | None = None
    """In settings of pytest and in what images are built from (see `text_file`)."""


_MODULES = (
    "state",
    "process",
    "addresses",
    "naming",
    "waiting",
    "lifecycle",
    "teardown",
    "distribution",
    "threads",
    "images",
)


@cache
def all_rules() -> dict[str, Rule]:
    """The rules by their ids."""
    found: dict[str, Rule] = {}
    for module in _MODULES:
        for rule in import_module(f"pytest_muster.checking.{module}").RULES:
            found[rule.id] = rule
    return dict(sorted(found.items()))
