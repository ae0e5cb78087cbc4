"""Checks files: reads them, asks the rules, and takes away what a comment with a reason ignores."""

import ast
import tokenize
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_muster.checking.ignores import Ignore, ignores_of, ignores_of_lines
from pytest_muster.checking.rules import Hit, Level, Rule, all_rules
from pytest_muster.checking.settings import Settings
from pytest_muster.checking.source import Source
from pytest_muster.checking.text_file import Span, TextFile, kind_of

_SKIPPED = {"__pycache__", "node_modules", "site-packages", "venv", "build", "dist"}


@dataclass(frozen=True, kw_only=True)
class Meta:
    """A fault of a file or of a comment, not of a test."""

    id: str
    name: str
    title: str
    remedy: str


UNREADABLE = Meta(
    id="M001", name="unreadable", title="The file is not Python.", remedy="Repair it; nothing in it was checked."
)
NO_REASON = Meta(
    id="M002",
    name="ignore-without-reason",
    title="An ignore comment gives no reason, or names no rule.",
    remedy="Write `# muster: ignore[M101] why this is right here`.",
)
UNUSED = Meta(
    id="M003",
    name="unused-ignore",
    title="An ignore comment takes nothing away.",
    remedy="Remove it; or correct the id or the line.",
)
METAS = (UNREADABLE, NO_REASON, UNUSED)


@dataclass(frozen=True, kw_only=True, order=True)
class Violation:
    path: str
    """Relative to the project, with `/`."""
    line: int
    column: int
    """From 1, in characters."""
    id: str
    message: str
    remedy: str
    level: Level
    end_line: int
    end_column: int
    text: str
    """The line as it stands in the file."""


def files_in(paths: Iterable[Path], settings: Settings) -> Iterator[Path]:
    """The files at or below the paths that have rules, sorted, each once; one that is named is never excluded."""
    seen: set[Path] = set()
    for path in paths:
        for file in [path] if path.is_file() else sorted(_below(path, settings)):
            if file not in seen:
                seen.add(file)
                yield file


def _below(folder: Path, settings: Settings) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.name.startswith(".") or entry.name in _SKIPPED or settings.is_excluded(relative(entry, settings.root)):
            continue
        if entry.is_dir() and not entry.is_symlink():
            yield from _below(entry, settings)
        elif (entry.suffix == ".py" or kind_of(entry)) and entry.is_file():
            yield entry


def relative(path: Path, root: Path) -> str:
    full = path.absolute()
    return (full.relative_to(root) if full.is_relative_to(root) else full).as_posix()


class Checker:
    """Checks one file after the other, and reads each conftest file once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._conftests: dict[Path, Source | None] = {}

    def check(self, file: Path) -> list[Violation]:
        """The violations of a file, by line."""
        path = relative(file, self._settings.root)
        rules = self._settings.rules_for(path)
        if kind_of(file):
            return sorted(_judge(TextFile(file, file.read_text(encoding="utf-8", errors="replace")), path, rules))
        try:
            with tokenize.open(file) as opened:
                text = opened.read()
            source = Source(file, text, self._above(file))
        except (SyntaxError, UnicodeDecodeError, ValueError) as error:
            line, column = getattr(error, "lineno", None) or 1, getattr(error, "offset", None) or 1
            why = getattr(error, "msg", None) or str(error)
            return [_meta(UNREADABLE, path, line, max(column, 1), f"this is not Python: {why}", "")]
        return sorted(_judge(source, path, rules))

    def _above(self, file: Path) -> tuple[Source, ...]:
        """The conftest files whose fixtures the file sees, the outermost first."""
        root = self._settings.root
        folder = file.absolute().parent
        folders = [one for one in (folder, *folder.parents) if one == root or one.is_relative_to(root)] or [folder]
        found = [self._conftest(one / "conftest.py") for one in reversed(folders)]
        return tuple(one for one in found if one and one.path.absolute() != file.absolute())

    def _conftest(self, path: Path) -> Source | None:
        if path not in self._conftests:
            self._conftests[path] = None
            if path.is_file():
                with suppress(SyntaxError, UnicodeDecodeError, ValueError):  # reported where it is checked itself
                    self._conftests[path] = Source(path, path.read_text(encoding="utf-8"))
        return self._conftests[path]


def check_text(text: str, path: Path, rules: frozenset[str] | None = None) -> list[Violation]:
    """The violations in a text that would be the file `path`. Raises `SyntaxError`."""
    source = TextFile(path, text) if kind_of(path) else Source(path, text)
    return sorted(_judge(source, path.as_posix(), frozenset(all_rules()) if rules is None else rules))


def _judge(source: Source | TextFile, path: str, rules: frozenset[str]) -> Iterator[Violation]:
    ignores = ignores_of(source.text) if isinstance(source, Source) else ignores_of_lines(source.lines)
    by_line: dict[int, list[Ignore]] = {}
    for ignore in ignores:
        by_line.setdefault(ignore.covers, []).append(ignore)
    for rule in all_rules().values():
        if rule.id not in rules:
            continue
        seen: set[tuple[int, int]] = set()
        for node, message in _hits(rule, source):
            line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
            if (line, column) in seen:
                continue
            seen.add((line, column))
            covering = [one for one in by_line.get(line, []) if rule.id in one.ids and one.why]
            if covering:
                covering[0].used.add(rule.id)
                continue
            text = source.lines[line - 1] if line <= len(source.lines) else ""
            yield Violation(
                path=path,
                line=line,
                column=_characters(text, column) + 1,
                id=rule.id,
                message=message,
                remedy=rule.remedy,
                level=rule.level,
                end_line=_end_line(node, line),
                end_column=_end_column(source, node, line, column),
                text=text,
            )
    yield from _ignored_wrongly(source, path, ignores, rules)


def _hits(rule: Rule, source: Source | TextFile) -> Iterator[Hit]:
    if isinstance(source, Source):
        yield from rule.check(source)
    elif rule.check_text is not None:
        yield from rule.check_text(source)


def _ignored_wrongly(
    source: Source | TextFile, path: str, ignores: list[Ignore], rules: frozenset[str]
) -> Iterator[Violation]:
    known = all_rules()
    for one in ignores:
        text = source.lines[one.line - 1]
        at = (path, one.line, one.column + 1)
        if not one.ids:
            yield _meta(NO_REASON, *at, "the ignore names no rule", text)
            continue
        if not one.why:
            yield _meta(NO_REASON, *at, f"the ignore of {', '.join(one.ids)} gives no reason", text)
            continue
        for unused in one.ids:
            if unused not in known:
                yield _meta(UNUSED, *at, f"there is no rule {unused}", text)
            elif unused not in one.used and unused in rules:
                yield _meta(UNUSED, *at, f"nothing here is found by {unused}", text)


def _meta(meta: Meta, path: str, line: int, column: int, message: str, text: str) -> Violation:
    return Violation(
        path=path,
        line=line,
        column=column,
        id=meta.id,
        message=message,
        remedy=meta.remedy,
        level=Level.ERROR if meta is UNREADABLE else Level.WARNING,
        end_line=line,
        end_column=column,
        text=text,
    )


def _characters(line: str, column: int) -> int:
    """A column of the parser, which counts bytes, in characters."""
    return column if line.isascii() else len(line.encode()[:column].decode(errors="ignore"))


def _end_line(node: ast.AST | Span, line: int) -> int:
    """A function or a block is shown by its first line."""
    return line if hasattr(node, "body") else getattr(node, "end_lineno", None) or line


def _end_column(source: Source | TextFile, node: ast.AST | Span, line: int, column: int) -> int:
    if hasattr(node, "body"):
        return len(source.lines[line - 1]) + 1
    end_line, end = _end_line(node, line), getattr(node, "end_col_offset", None) or column
    return _characters(source.lines[end_line - 1], end) + 1
