"""Files beside the tests that are no Python: the settings of pytest, and what images are built from."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

_SETTINGS = {"pyproject.toml", "pytest.ini", ".pytest.ini", "pytest.toml", "tox.ini", "setup.cfg"}
_IMAGE = re.compile(r"^(Docker|Container)file(\..+)?$|\.(docker|container)file$", re.IGNORECASE)
_TOKEN = re.compile(r"&&|\|\||[;|&]|[^\s;&|\"',\[\]()]+")
_HEREDOC = re.compile(r"<<-?\s*[\"']?(\w+)")


class FileKind(StrEnum):
    SETTINGS = "settings"
    IMAGE = "image"
    """A Dockerfile or Containerfile."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """Lines from 1, columns from 0, as the nodes of a syntax tree have them."""

    lineno: int
    col_offset: int
    end_lineno: int
    end_col_offset: int


@dataclass(frozen=True, kw_only=True)
class Word:
    text: str
    line: int
    start: int
    end: int


def kind_of(path: Path) -> FileKind | None:
    """What a file is by its name; None for all others."""
    if path.name in _SETTINGS:
        return FileKind.SETTINGS
    return FileKind.IMAGE if _IMAGE.search(path.name) else None


class TextFile:
    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text
        self.kind = kind_of(path)

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    def span(self, line: int, start: int, end: int) -> Span:
        return Span(lineno=line, col_offset=start, end_lineno=line, end_col_offset=end)

    def commands(self) -> Iterator[list[Word]]:
        """The commands that an image's `RUN` instructions give to a shell, each with its words."""
        command: list[Word] = []
        end_of_document = ""
        runs = False
        for number, line in enumerate(self.lines, 1):
            if line.lstrip().startswith("#") and not end_of_document:
                continue
            if end_of_document and line.strip() == end_of_document:
                end_of_document, runs = "", False
                continue
            begins = re.match(r"\s*([A-Za-z]+)\s", line) if not runs else None
            if begins:
                runs = begins[1].upper() == "RUN"
            if not runs:
                continue
            for found in _TOKEN.finditer(line, begins.end() if begins else 0):
                if re.fullmatch(r"&&|\|\||[;|&]", found[0]):
                    yield command
                    command = []
                elif found[0] != "\\":
                    command.append(Word(text=found[0], line=number, start=found.start(), end=found.end()))
            if begins and (heredoc := _HEREDOC.search(line)):
                end_of_document = heredoc[1]
            if end_of_document or not line.rstrip().endswith("\\"):
                yield command
                command = []
                runs = bool(end_of_document)
        yield command
