"""`# muster: ignore[M101] why`, on the line of a violation or alone on the line above it."""

import io
import re
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass, field

_COMMENT = re.compile(r"#\s*muster:\s*ignore\s*(?:\[([^\]]*)\])?[\s:-]*(.*)$")


@dataclass(kw_only=True)
class Ignore:
    line: int
    """Where the comment stands."""
    column: int
    covers: int
    """The line whose violations it takes away."""
    ids: tuple[str, ...]
    why: str
    used: set[str] = field(default_factory=set)


def ignores_of_lines(lines: Sequence[str]) -> list[Ignore]:
    """The same in a file that is no Python, where a comment begins a line with `#` and covers the next that is none."""
    found: list[Ignore] = []
    waiting: list[Ignore] = []
    for number, line in enumerate(lines, 1):
        comment = line.lstrip()
        if not comment.startswith("#"):
            for ignore in waiting:
                ignore.covers = number
            waiting = waiting if not comment else []
        elif match := _COMMENT.match(comment):
            waiting.append(_ignore(match, number, len(line) - len(comment)))
            found.append(waiting[-1])
    return found


def _ignore(match: re.Match[str], line: int, column: int) -> Ignore:
    ids = tuple(one.strip() for one in (match[1] or "").split(",") if one.strip())
    return Ignore(line=line, column=column, covers=line, ids=ids, why=match[2].strip())


def ignores_of(text: str) -> list[Ignore]:
    """The comments of a file that take violations away, in their order."""
    if "muster:" not in text:
        return []
    found: list[Ignore] = []
    waiting: list[Ignore] = []
    alone = True
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            match = _COMMENT.match(token.string)
            if match:
                ignore = _ignore(match, *token.start)
                found.append(ignore)
                if alone:
                    waiting.append(ignore)
        elif token.type in {tokenize.NL, tokenize.NEWLINE}:
            alone = True
        elif token.type not in {tokenize.INDENT, tokenize.DEDENT}:
            for ignore in waiting:
                ignore.covers = token.start[0]
            waiting = []
            alone = False
    return found
