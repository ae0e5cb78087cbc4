"""An error that quotes text from outside cannot move the cursor."""

import inspect
from collections.abc import Iterator

import cyclopts
import pytest

from kubernaut.cli.app import app, report, run
from kubernaut.cli.errors import CommandError


def test_control_characters_of_a_message_are_escaped_and_its_lines_stay(capsys):
    code = report(CommandError("first \x1b]0;title\x07 line\nsecond\u202e line", code=3, hint="kubernaut up\x1b[2J"))

    assert code == 3
    assert capsys.readouterr().err == (
        "kubernaut: first \\x1b]0;title\\x07 line\nsecond\\u202e line\ntry: kubernaut up\\x1b[2J\n"
    )


def test_control_characters_of_an_argument_are_escaped_in_the_message_about_it(capsys):
    code = run(["audit", "query", "--x\x1b]0;title\x07"])

    assert code == 2
    assert "Unknown option: --x\\x1b]0;title\\x07" in capsys.readouterr().err


def _commands(parent: cyclopts.App, *names: str) -> Iterator[tuple[str, ...]]:
    for name in parent:
        if name.startswith("-"):
            continue
        child = parent[name]
        if child.default_command is None:
            yield from _commands(child, *names, name)
        else:
            yield (*names, name)


@pytest.mark.parametrize("command", [*_commands(app)], ids=" ".join)
def test_help_of_a_command_says_all_that_it_promises(command, capsys):
    *_, found = app.parse_commands(command)[1]
    described = inspect.getdoc(found.default_command).partition("\nParameters\n")[0]

    assert run([*command, "--help"]) == 0

    shown = capsys.readouterr().out.split()
    assert " ".join(described.replace("`", "").split()) in " ".join(shown)  # a terminal shows no backticks
