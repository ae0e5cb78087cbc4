"""An error that quotes text from outside cannot move the cursor."""

from kubernaut.cli.app import report, run
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
