"""What a command prints: text from outside is only ever text."""

import json

import msgspec
import pytest
import yaml

from kubernaut.cli.output import Output, emit, table
from kubernaut.ops.visible_text import visible

HOSTILE = {
    "colour": ("\x1b[31mred", r"\x1b[31mred"),
    "window title": ("\x1b]0;pwned\x07", r"\x1b]0;pwned\x07"),
    "overwritten line": ("real\rfake", r"real\rfake"),
    "second line": ("a\nb", r"a\nb"),
    "eight-bit escape": ("\x9b31m", r"\x9b31m"),
    "right to left": ("\u202egnp.exe", r"\u202egnp.exe"),
    "line separator": ("a\u2028b", r"a\u2028b"),
    "half a character": ("\ud800", r"\ud800"),
    "ordinary text": ("zażółć 東京 🚀", "zażółć 東京 🚀"),
}


@pytest.mark.parametrize(("text", "shown"), HOSTILE.values(), ids=HOSTILE)
def test_text_is_shown_and_never_obeyed(text, shown, capsys):
    table(["name"], [(text,)])

    assert visible(text) == shown
    assert capsys.readouterr().out == f"NAME\n{shown}\n"


class Wrapped(msgspec.Struct):
    event_data: msgspec.Raw


@pytest.mark.parametrize(("output", "parse"), [(Output.JSON, json.loads), (Output.YAML, yaml.safe_load)])
def test_raw_json_is_shown_as_data_and_reads_back(output, parse, capsys):
    data = {"a": [1, None, 1.5], "b": "\x1b[0m\x9b\u202e\x7f"}

    assert emit([Wrapped(msgspec.Raw(json.dumps(data).encode()))], output)

    text = capsys.readouterr().out
    assert parse(text) == [{"event_data": data}]
    assert visible(text.replace("\n", "")) == text.replace("\n", "")


def test_names_are_printed_one_a_line(capsys):
    assert emit(None, Output.NAME, ["a", "b\n"])

    assert capsys.readouterr().out == "a\nb\\n\n"


@pytest.mark.parametrize(
    ("is_terminal", "columns", "heads"),
    [
        (True, 40, "NAME   TARGET   HASH"),
        (True, 18, "NAME   TARGET"),
        (True, 9, "NAME"),
        (False, 9, "NAME   TARGET   HASH"),
    ],
)
def test_narrow_terminal_loses_the_least_important_columns(
    is_terminal: bool, columns: int, heads: str, capsys, monkeypatch
):
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)
    monkeypatch.setenv("COLUMNS", str(columns))

    table(["name", "target", "hash"], [["a", "b", "c"]], droppable=["hash", "target"])

    assert capsys.readouterr().out.splitlines()[0] == heads
