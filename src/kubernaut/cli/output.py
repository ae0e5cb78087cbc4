"""The output of a command: a table for people, JSON, YAML or JSONPath for programs.

Text from outside (names, labels, messages of services) is only ever text: whatever is printed here keeps its lines and
loses what a terminal would obey.
"""

import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar

import cyclopts
import msgspec
import yaml

from kubernaut.cli.columns import Table
from kubernaut.cli.errors import CommandError
from kubernaut.cli.jsonpath import InvalidTemplate, Template
from kubernaut.ops.visible_text import UNSAFE_BEYOND_ASCII, visible, visible_json


class Format(StrEnum):
    """The formats of `-o`."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"
    JSONPATH = "jsonpath"


@dataclass(frozen=True)
class Output:
    """The format of a command's output, and the template of `jsonpath=TEMPLATE`."""

    format: Format
    template: Template | None = None

    TABLE: ClassVar["Output"]
    WIDE: ClassVar["Output"]
    JSON: ClassVar["Output"]
    YAML: ClassVar["Output"]
    NAME: ClassVar["Output"]

    @property
    def is_wide(self) -> bool:
        return self.format is Format.WIDE

    def __str__(self) -> str:
        return self.format.value


Output.TABLE = Output(Format.TABLE)
Output.WIDE = Output(Format.WIDE)
Output.JSON = Output(Format.JSON)
Output.YAML = Output(Format.YAML)
Output.NAME = Output(Format.NAME)


def _converted(_: object, tokens: Sequence[cyclopts.Token]) -> Output:
    """`-o`'s value. Raises ValueError, which cyclopts reports as wrong usage."""
    text = tokens[0].value
    name, _separator, template = text.partition("=")
    try:
        chosen = Format(name.strip().lower())
    except ValueError:
        raise ValueError(f'"{text}" is none of table, wide, json, yaml, name and jsonpath=TEMPLATE') from None
    if chosen is not Format.JSONPATH:
        if template:
            raise ValueError(f'"{text}": {chosen} takes no template')
        return Output(chosen)
    try:
        return Output(chosen, Template(template))
    except InvalidTemplate as error:
        raise ValueError(f'"{text}": {error}') from None


OutputOption = Annotated[
    Output,
    cyclopts.Parameter(
        name=["--output", "-o"],
        help="table, wide, json, yaml, name or jsonpath=TEMPLATE, as kubectl's",
        converter=_converted,
        n_tokens=1,
        accepts_keys=False,
        show_choices=False,
        show_default=False,
    ),
]


def emit(value: Any, output: Output, names: Iterable[str] = ()) -> bool:
    """Print `value`, or only the `names`, for programs; returns False for a table, which the command lays out.

    A template sees a list as kubectl's does: under `items`.
    """
    if output.format in (Format.TABLE, Format.WIDE):
        return False
    if output.format is Format.NAME:
        for name in names:
            say(visible(name))
        return True
    plain = msgspec.to_builtins(value, enc_hook=_builtin)
    if output.template is not None:
        _say_template(output.template, {"kind": "List", "items": plain} if isinstance(plain, list) else plain)
    elif output.format is Format.JSON:
        say(visible_json(msgspec.json.encode(plain)))
    else:
        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).rstrip()
        if UNSAFE_BEYOND_ASCII.search(text):
            text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=False).rstrip()
        say(text)
    return True


def _say_template(template: Template, value: Any) -> None:
    try:
        text = template.render(value)
    except InvalidTemplate as error:
        raise CommandError(f"-o jsonpath: {error}", code=2) from error
    # kubectl ends such an output without a line break; a terminal's prompt would stand behind it.
    if sys.stdout.isatty() and text and not text.endswith("\n"):
        text += "\n"
    sys.stdout.write("\t".join(_printable(part) for part in text.split("\t")))


def _builtin(value: object) -> object:
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else str(value)


def table(layout: Table, rows: Sequence[Sequence[object]], *, is_wide: bool = False) -> tuple[str, ...]:
    """Print aligned columns as kubectl does: no borders, upper-case heads, `-` for an empty cell.

    A terminal that is too narrow loses columns and cells as the layout says; a pipe and `is_wide` lose nothing.
    Returns the heads of the columns that were lost.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    available = None if is_wide else terminal_columns()
    for line in layout.lines(cells, available):
        say(line)
    return layout.dropped(cells, available)


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else visible(str(value))


def terminal_columns() -> int | None:
    """Columns of the terminal that standard output is; None for a pipe or a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def say(text: str) -> None:
    """Text on standard output, over one line or several."""
    sys.stdout.write(_printable(text) + "\n")


def note(text: str) -> None:
    """Text on standard error, where it does not disturb a pipe."""
    sys.stderr.write(_printable(text) + "\n")


def _printable(text: str) -> str:
    """The text with its lines, and with escapes for what a terminal would obey instead of showing it."""
    return "\n".join(map(visible, text.split("\n")))
