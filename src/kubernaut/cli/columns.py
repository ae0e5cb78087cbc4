"""Laying out a table for the width of a terminal. Pure; the cells are free of control characters."""

import textwrap
import unicodedata
from collections.abc import Iterator, Sequence

SEPARATOR = "   "
MIN_CELL = 12
"""Characters that a cell keeps at least when a table is shortened."""
MAX_COUNTED = 32
"""Characters of a cell for which other columns are dropped; a longer cell is shortened first."""
MIN_WRAPPED = 24
"""Characters of a wrapped column for which other columns are dropped."""


def width(text: str) -> int:
    """Columns that a terminal needs for the text: two for an East Asian wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )


def shortened(text: str, columns: int) -> str:
    """The text, or as much of its beginning as fits with an ellipsis behind it."""
    if width(text) <= columns:
        return text
    kept = ""
    for sign in text:
        if width(kept + sign) > columns - 1:
            break
        kept += sign
    return kept + "…"


def lines(
    cells: Sequence[Sequence[str]], droppable: Sequence[int], available: int | None, *, wrapped: bool
) -> Iterator[str]:
    """The rows, the first of which are the heads, in at most `available` columns; None leaves everything as it is."""
    widths = [max(width(row[column]) for row in cells) for column in range(len(cells[0]))]
    shown = list(range(len(widths)))
    if available is not None:
        shown = _shown(widths, droppable, available, wrapped=wrapped)
        if not wrapped:
            widths = _shrunk(widths, shown, available)
    for row in cells:
        yield from _row(row, shown, widths, available if wrapped else None)


def _shown(widths: Sequence[int], droppable: Sequence[int], available: int, *, wrapped: bool) -> list[int]:
    shown = list(range(len(widths)))
    for column in droppable:
        needed = [min(widths[each], MAX_COUNTED) for each in shown]
        if wrapped:
            needed[-1] = min(needed[-1], MIN_WRAPPED)
        if sum(needed) + len(SEPARATOR) * (len(shown) - 1) <= available:
            break
        shown.remove(column)
    return shown


def _shrunk(widths: Sequence[int], shown: Sequence[int], available: int) -> list[int]:
    """The widths, the longest of them less, until the row fits or no cell may be shorter."""
    result = list(widths)
    excess = sum(result[each] for each in shown) + len(SEPARATOR) * (len(shown) - 1) - available
    while excess > 0:
        longest = max(shown, key=lambda each: result[each])
        second = max((result[each] for each in shown if each != longest), default=0)
        if result[longest] <= MIN_CELL:
            break
        step = min(excess, result[longest] - max(second, MIN_CELL)) or 1
        result[longest] -= step
        excess -= step
    return result


def _row(row: Sequence[str], shown: Sequence[int], widths: Sequence[int], available: int | None) -> Iterator[str]:
    *first, last = shown
    before = "".join(_padded(shortened(row[each], widths[each]), widths[each]) + SEPARATOR for each in first)
    if available is None:
        yield (before + shortened(row[last], widths[last])).rstrip()
        return
    room = max(MIN_CELL, available - width(before))
    parts = textwrap.wrap(row[last], room, break_on_hyphens=False) or [""]
    yield (before + parts[0]).rstrip()
    for part in parts[1:]:
        yield " " * width(before) + part


def _padded(text: str, columns: int) -> str:
    return text + " " * (columns - width(text))
