"""The output of a command: a table for people, JSON or YAML for programs."""

import shutil
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import cyclopts
import msgspec
import yaml

from kubernaut.ops.visible_text import UNSAFE_BEYOND_ASCII, visible, visible_json


class Output(StrEnum):
    """The format of a command's output."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


OutputOption = Annotated[Output, cyclopts.Parameter(name=["--output", "-o"], help="table, json, yaml or name")]

_SEPARATOR = "   "


def emit(value: Any, output: Output, names: Iterable[str] = ()) -> bool:
    """Print `value` as JSON or YAML, or only the `names`; returns False for a table, which the command lays out."""
    if output is Output.TABLE:
        return False
    if output is Output.NAME:
        for name in names:
            say(visible(name))
        return True
    plain = msgspec.to_builtins(value, enc_hook=_builtin)
    if output is Output.JSON:
        text = visible_json(msgspec.json.encode(plain))
    else:
        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).rstrip()
        if UNSAFE_BEYOND_ASCII.search(text):
            text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=False).rstrip()
    say(text)
    return True


def _builtin(value: object) -> object:
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else str(value)


def table(heads: Sequence[str], rows: Sequence[Sequence[object]], droppable: Sequence[str] = ()) -> None:
    """Print aligned columns as kubectl does: no borders, upper-case heads, `-` for an empty cell.

    A terminal that is too narrow loses the `droppable` columns, the first of them first; a pipe never does.
    """
    cells = [[head.upper() for head in heads], *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    shown = list(range(len(heads)))
    if sys.stdout.isatty():
        available = shutil.get_terminal_size().columns
        for head in droppable:
            if sum(widths[column] for column in shown) + len(_SEPARATOR) * (len(shown) - 1) <= available:
                break
            shown.remove(list(heads).index(head))
    for row in cells:
        say(_SEPARATOR.join(row[column].ljust(widths[column]) for column in shown).rstrip())


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else visible(str(value))


def say(text: str) -> None:
    """One piece of text on standard output."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """One piece of text on standard error, where it does not disturb a pipe."""
    sys.stderr.write(text + "\n")
