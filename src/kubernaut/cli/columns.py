"""Laying out a table for the width of a terminal. Pure; the cells are free of control characters.

A table that is too wide is made narrower in this order, until it fits:

1. a narrower separator, and the short forms of long heads;
2. its `details` go, the first of them first, as long as a longer cell would be cut below COMFORTABLE_CELL;
3. its `droppable` columns go in the same way, as long as one would be cut below MIN_CELL;
4. the longest cells are cut. A cell whose end distinguishes it (`both_ends`) loses its middle, any other its end, and
   one that people copy (`exact`) is cut only if nothing else is left.
"""

import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SEPARATOR = "   "
NARROW_SEPARATOR = "  "
SHORT_HEADS = {"environment": "env", "namespace": "ns", "occurrences": "times", "priority": "prio", "severity": "sev"}
"""Heads that a narrow terminal gets instead, where the cells below are shorter than the head."""
COMFORTABLE_CELL = 24
"""Characters of a cell for which columns of details are dropped; a longer cell is cut first."""
MIN_CELL = 12
"""Characters of a cell for which other columns are dropped."""
MIN_WRAPPED = 20
"""Characters of a wrapped column for which other columns are dropped."""
SHORTEST_CELL = 3
"""Characters that a cell keeps in a terminal which is too narrow for anything."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The columns of a table by their heads, and what a narrow terminal loses."""

    heads: tuple[str, ...]
    details: tuple[str, ...] = ()
    """Columns that are dropped early, the first of them first."""
    droppable: tuple[str, ...] = ()
    """Columns that are dropped late, the first of them first."""
    both_ends: tuple[str, ...] = ()
    """Columns whose cells lose their middle: names and ids, whose ends distinguish them."""
    exact: tuple[str, ...] = ()
    """Columns whose cells are whole or not there: what people copy, and times."""
    wrapped: bool = False
    """Whether the last column goes on in further lines instead of being cut."""

    def __post_init__(self) -> None:
        unknown = {*self.details, *self.droppable, *self.both_ends, *self.exact} - {*self.heads}
        if unknown:
            raise ValueError(f"columns without a head: {', '.join(sorted(unknown))}")

    def lines(self, rows: Sequence[Sequence[str]], available: int | None, *, is_headed: bool = True) -> Iterator[str]:
        """The rows below their heads, in at most `available` columns; None leaves everything as it is."""
        layout = self._layout(rows, available, is_headed=is_headed)
        texts = [layout.heads, *rows] if is_headed else rows
        for row in texts:
            yield from self._row(row, layout, available if self.wrapped else None)

    def dropped(self, rows: Sequence[Sequence[str]], available: int | None) -> tuple[str, ...]:
        """The heads of the columns for which there is no room."""
        shown = self._layout(rows, available, is_headed=True).shown
        return tuple(head for column, head in enumerate(self.heads) if column not in shown)

    def _layout(self, rows: Sequence[Sequence[str]], available: int | None, *, is_headed: bool) -> "_Layout":
        everything = range(len(self.heads))
        body = [max((width(row[column]) for row in rows), default=0) for column in everything]
        heads = [head.upper() for head in self.heads]
        widths = self._widths(heads, body) if is_headed else body
        layout = _Layout(heads=heads, shown=[*everything], widths=widths, separator=SEPARATOR)
        if available is None or layout.needed(self._limits(widths, max(widths, default=0))) <= available:
            return layout
        short = [
            SHORT_HEADS[name].upper() if name in SHORT_HEADS and body[column] < width(name) else heads[column]
            for column, name in enumerate(self.heads)
        ]
        widths = self._widths(short, body) if is_headed else body
        layout = _Layout(heads=short, shown=[*everything], widths=widths, separator=NARROW_SEPARATOR)
        for least, names in ((COMFORTABLE_CELL, self.details), (MIN_CELL, self.droppable)):
            for name in names:
                if layout.needed(self._limits(widths, least)) <= available:
                    break
                layout.shown.remove(self.heads.index(name))
        layout.shrink(self._limits(widths, MIN_CELL), available)
        layout.shrink([min(SHORTEST_CELL, each) for each in widths], available)
        return layout

    def _widths(self, heads: Sequence[str], body: Sequence[int]) -> list[int]:
        return [max(width(head), below) for head, below in zip(heads, body, strict=True)]

    def _limits(self, widths: Sequence[int], least: int) -> list[int]:
        """How narrow each column may become: to `least`, one that is exact not at all, a wrapped one always."""
        limits = [
            each if head in self.exact else min(each, least) for head, each in zip(self.heads, widths, strict=True)
        ]
        if self.wrapped:
            limits[-1] = min(widths[-1], MIN_WRAPPED)
        return limits

    def _row(self, row: Sequence[str], layout: "_Layout", available: int | None) -> Iterator[str]:
        *first, last = layout.shown
        before = "".join(
            _padded(self._cut(row[each], each, layout), layout.widths[each]) + layout.separator for each in first
        )
        if available is None:
            yield (before + self._cut(row[last], last, layout)).rstrip()
            return
        room = max(SHORTEST_CELL, available - width(before))
        parts = textwrap.wrap(row[last], room, break_on_hyphens=False) or [""]
        yield (before + parts[0]).rstrip()
        for part in parts[1:]:
            yield " " * width(before) + part

    def _cut(self, text: str, column: int, layout: "_Layout") -> str:
        cut = shortened_within if self.heads[column] in (*self.both_ends, *self.exact) else shortened
        return cut(text, layout.widths[column])


@dataclass(kw_only=True)
class _Layout:
    """Which columns are shown, and how wide."""

    heads: list[str]
    shown: list[int]
    widths: list[int]
    separator: str

    def needed(self, widths: Sequence[int]) -> int:
        """Columns of the terminal that a row takes with these widths."""
        return sum(widths[each] for each in self.shown) + len(self.separator) * (len(self.shown) - 1)

    def shrink(self, limits: Sequence[int], available: int) -> None:
        """Make the widest columns narrower until a row fits or none may be narrower."""
        widths = self.widths = list(self.widths)
        excess = self.needed(widths) - available
        while excess > 0 and (able := [each for each in self.shown if widths[each] > limits[each]]):
            longest = max(able, key=lambda each: widths[each])
            second = max((widths[each] for each in able if each != longest), default=0)
            step = min(excess, widths[longest] - max(second, limits[longest])) or 1
            widths[longest] -= step
            excess -= step


def width(text: str) -> int:
    """Columns that a terminal needs for the text: two for an East Asian wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )


def shortened(text: str, columns: int) -> str:
    """The text, or as much of its beginning as fits with an ellipsis behind it."""
    return text if width(text) <= columns else _beginning(text, columns - 1) + "…"


def shortened_within(text: str, columns: int) -> str:
    """The text, or a third of what fits from its beginning, an ellipsis, and the rest from its end."""
    if width(text) <= columns:
        return text
    beginning = _beginning(text, (columns - 1) // 3)
    end = _beginning(text[::-1], columns - 1 - width(beginning))[::-1]
    return f"{beginning}…{end}"


def _beginning(text: str, columns: int) -> str:
    kept, used = 0, 0
    for sign in text:
        used += width(sign)
        if used > columns:
            break
        kept += 1
    return text[:kept]


def _padded(text: str, columns: int) -> str:
    return text + " " * (columns - width(text))
