"""Commands that the documents tell an operator to run are commands of ours, with options that they have."""

import re
import shlex
from pathlib import Path

import cyclopts
import pytest

from kubernaut.cli.app import app

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGES = [*sorted((DOCS / "runbooks").glob("*.md")), *sorted(DOCS.glob("*.md"))]
NAMES = {name for name in app if not name.startswith("-")}
TOLERATED = (cyclopts.MissingArgumentError, cyclopts.CoercionError, cyclopts.ValidationError)
"""A command without its arguments, and a placeholder such as FILE or ID."""


def _commands(text: str) -> list[str]:
    """What stands in backticks or at a prompt, up to a pipe or another operator of the shell."""
    inline = re.findall(r"(?<!`)`(?:kubectl )?kubernaut ([a-z][^`]*)`", text)
    prompts = re.findall(r"^\$ (?:kubectl )?kubernaut ([a-z].*)$", text, re.MULTILINE)
    found = [re.split(r"[|;&<>\\#]| 2>|\S*\$[({]", each)[0].strip() for each in (*inline, *prompts)]
    return [each for each in found if each.split()[0] in NAMES and "…" not in each]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_each_command_of_a_page_is_one(page):
    wrong = {}
    for command in _commands(page.read_text()):
        try:
            app.parse_args(shlex.split(command), exit_on_error=False, print_error=False)
        except TOLERATED:
            pass
        except (cyclopts.CycloptsError, ValueError) as error:
            wrong[command] = str(error)

    assert wrong == {}
