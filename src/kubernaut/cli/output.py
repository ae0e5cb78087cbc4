"""The output of a command: a table for people, JSON or YAML for programs."""

import re
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import cyclopts
import msgspec
import yaml


class Output(StrEnum):
    """The format of a command's output."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


OutputOption = Annotated[Output, cyclopts.Parameter(name=["--output", "-o"], help="table, json, yaml or name")]

# Control characters, which move the cursor or recolour a terminal, and those that reorder or hide text.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_UNSAFE_BEYOND_ASCII = re.compile(r"[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def terminal_safe(text: str) -> str:
    """The text in one line, with escapes such as `\\x1b` for what a terminal would obey instead of showing it."""
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    short = {9: "\\t", 10: "\\n", 13: "\\r"}
    return short.get(code) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def emit(value: Any, output: Output, names: Iterable[str] = ()) -> bool:
    """Print `value` as JSON or YAML, or only the `names`; returns False for a table, which the command lays out."""
    if output is Output.TABLE:
        return False
    if output is Output.NAME:
        for name in names:
            say(terminal_safe(name))
        return True
    plain = msgspec.to_builtins(value, enc_hook=_builtin)
    if output is Output.JSON:
        text = msgspec.json.format(msgspec.json.encode(plain), indent=2).decode()
        text = _UNSAFE_BEYOND_ASCII.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    else:
        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).rstrip()
        if _UNSAFE_BEYOND_ASCII.search(text):
            text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=False).rstrip()
    say(text)
    return True


def _builtin(value: object) -> object:
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else str(value)


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print aligned columns as kubectl does: no borders, upper-case heads, `-` for an empty cell."""
    cells = [[head.upper() for head in heads], *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    for row in cells:
        say("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else terminal_safe(str(value))


def say(text: str) -> None:
    """One piece of text on standard output."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """One piece of text on standard error, where it does not disturb a pipe."""
    sys.stderr.write(text + "\n")
