"""What a command prints: text from outside is only ever text."""

import json

import msgspec
import pytest
import yaml

from kubernaut.cli.columns import Table, width
from kubernaut.cli.output import Output, emit, note, say, table
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
    table(Table(heads=("name",)), [(text,)])

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
        (True, 18, "NAME  TARGET  HASH"),
        (True, 17, "NAME  TARGET"),
        (True, 9, "NAME"),
        (False, 9, "NAME   TARGET   HASH"),
    ],
)
def test_narrow_terminal_loses_the_least_important_columns(
    is_terminal: bool, columns: int, heads: str, capsys, monkeypatch
):
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)
    monkeypatch.setenv("COLUMNS", str(columns))

    table(Table(heads=("name", "target", "hash"), details=("hash",), droppable=("target",)), [["a", "b", "c"]])

    assert capsys.readouterr().out.splitlines()[0] == heads


@pytest.mark.parametrize(("text", "shown"), HOSTILE.values(), ids=HOSTILE)
def test_whatever_is_printed_keeps_its_lines_and_is_never_obeyed(text, shown, capsys):
    say(f"name: {text}")
    note(f"name: {text}")

    captured = capsys.readouterr()
    expected = f"name: {shown if text != 'a' + chr(10) + 'b' else text}\n"
    assert (captured.out, captured.err) == (expected, expected)


LONG = [("sp-1", "N" * 400, "shop/Deployment/api", "P0"), ("sp-2", "東京" * 50, "shop/Pod/x", "P1")]


@pytest.mark.parametrize("columns", [60, 80])
def test_a_long_cell_is_shortened_on_a_terminal_and_no_line_is_wider(columns, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))

    table(Table(heads=("name", "alert", "target", "priority")), LONG)

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(width(line) <= columns for line in lines)
    assert all("…" in line and line.split()[-1] in ("P0", "P1") for line in lines[1:])


@pytest.mark.parametrize("is_wide", [True, False])
def test_nothing_is_shortened_in_a_pipe_or_when_wide(is_wide, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_wide)

    table(Table(heads=("name", "alert", "target", "priority"), details=("target",)), LONG, is_wide=is_wide)

    assert "N" * 400 in capsys.readouterr().out


def test_the_last_column_goes_on_in_further_lines(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")

    conditions = Table(heads=("type", "reason", "message"), details=("reason",), wrapped=True)
    table(conditions, [("Ready", "Because", "word " * 12)])

    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 40 for line in lines)
    assert sum(line.count("word") for line in lines) == 12
    assert lines[2].startswith(" " * lines[1].index("word") + "word")


def test_one_long_cell_costs_no_other_column(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")

    layout = Table(heads=("name", "alert", "target"), details=("target",), droppable=("name",))
    table(layout, [("sp-1", "N" * 400, "shop/Pod/x")])

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "ALERT", "TARGET"]
    assert max(map(len, lines)) <= 80
