"""Lines that stay at the bottom of a terminal, below whatever pytest writes.

No mode of the terminal is changed: the cursor stays visible and wrapping stays on. So there is nothing to restore,
however the process ends. Lines are cut one cell short of the width, and a frame is written at once, so it does not
flicker. When the terminal becomes narrower, it wraps the lines that are there, and they are counted as it shows them.
"""

import os
import shutil
import threading
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TextIO, cast

import pytest

ELLIPSIS = "…"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the screen. Of `text`, only the last part is shown if the line is too narrow for all of it."""

    prefix: str = ""
    text: str
    colour: str | None = None
    keep_end: bool = True


class Screen:
    """Shows rows below the output of a terminal writer, from any thread, until it is closed."""

    def __init__(self, config: pytest.Config) -> None:
        self._writer = config.get_terminal_writer()
        self._file = self._writer._file  # noqa: SLF001 - see below
        self._lock = threading.RLock()  # a signal handler may write while its thread draws
        self._rows: Sequence[Row] = ()
        self._widths: list[int] = []
        self._drawn: list[str] = []
        self._at_line_start = True
        self._closed = False
        # The writer of pytest has no hook that says that something is about to be written, and its public method
        # `write_raw` came only with pytest 9; what it writes to is under this name in all versions.
        self._above = cast("TextIO", _AboveScreen(self._file, self._write_above))  # it hands on what it has not itself
        self._writer._file = self._above  # noqa: SLF001

    def show(self, rows: Sequence[Row]) -> None:
        """Replace the rows that are shown."""
        with self._lock:
            if self._closed:
                return
            self._rows = rows
            if self._at_line_start:
                self._put(self._frame())

    def close(self) -> None:
        """Take the rows away. Whatever is written from now on passes through unseen."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._rows = ()
                self._put(self._erasing())
                if self._writer._file is self._above:  # noqa: SLF001 - otherwise another plugin has put its own there
                    self._writer._file = self._file  # noqa: SLF001

    def _write_above(self, text: str) -> None:
        with self._lock:
            if self._closed:
                self._put(text)
            elif text:
                erasing = self._erasing()
                self._at_line_start = text.endswith("\n")
                self._put(erasing + text + (self._frame() if self._at_line_start else ""))

    def _put(self, text: str) -> None:
        if not text:
            return
        try:
            self._file.write(text)
        except UnicodeEncodeError:
            encoding = self._file.encoding or "ascii"
            self._file.write(text.encode(encoding, "backslashreplace").decode(encoding))
        self._file.flush()

    def _erasing(self) -> str:
        up = self._up()
        self._drawn, self._widths = [], []
        return f"{up}\x1b[J" if up else ""

    def _up(self) -> str:
        """To the first cell of the first row that is drawn."""
        columns, _ = size()
        rows = sum(max(1, -(-width // columns)) for width in self._widths)
        return f"\r\x1b[{rows}A" if rows else ""

    def _frame(self) -> str:
        """What turns the rows that are drawn into those that shall be seen; nothing if they are the same."""
        columns, lines = size()
        width = max(columns - 1, 1)
        shown = self._rows if len(self._rows) < lines else self._rows[-max(lines - 1, 1) :]
        plain = [cut(row, width) for row in shown]
        widths = [cells(prefix) + cells(text) for prefix, text in plain]
        drawn = [
            prefix + (self._writer.markup(text, **{row.colour: True}) if row.colour else text)
            for row, (prefix, text) in zip(shown, plain, strict=True)
        ]
        if drawn == self._drawn and widths == self._widths:
            return ""
        up = self._up()
        self._drawn, self._widths = drawn, widths
        return up + "".join(f"{line}\x1b[K\n" for line in drawn) + "\x1b[J"


class _AboveScreen:
    """The file of a terminal writer, so that what is written to it appears above the rows."""

    def __init__(self, file: TextIO, write: Callable[[str], None]) -> None:
        self._file = file
        self._write = write

    def write(self, text: str) -> int:
        self._write(text)
        return len(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


def size() -> tuple[int, int]:
    """Columns and lines of the terminal, as they are now; the variable COLUMNS would not change with it."""
    for descriptor in (1, 2):
        try:
            found = os.get_terminal_size(descriptor)
        except OSError:
            continue
        if found.columns and found.lines:
            return found
    return shutil.get_terminal_size()


def cut(row: Row, width: int) -> tuple[str, str]:
    """Lead and text in at most `width` cells together; what is left out is marked."""
    prefix = _cut_end(_printable(row.prefix), width)
    left = width - cells(prefix)
    text = _printable(row.text)
    if cells(text) <= left:
        return prefix, text
    if not row.keep_end:
        return prefix, _cut_end(text, left)
    return prefix, _cut_end(text[::-1], left)[::-1]


def cells(text: str) -> int:
    """How many cells of a terminal the text takes."""
    return sum(map(_cells, text))


def _cut_end(text: str, width: int) -> str:
    if cells(text) <= width:
        return text
    taken = 0
    for position, character in enumerate(text):
        taken += _cells(character)
        if taken > width - 1:
            return text[:position] + (ELLIPSIS if width > 0 else "")
    return text


def _cells(character: str) -> int:
    if character.isascii():
        return 1
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "FW" else 1


def _printable(text: str) -> str:
    """The text without what would move the cursor."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "·" for c in text)
