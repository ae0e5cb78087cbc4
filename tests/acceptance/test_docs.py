"""Every example in the README and under docs/ is run as a reader would run it.

A fenced block marked `console` is a session: lines that begin with `$ ` are commands, and all of them must succeed.
The comment `<!-- with: up -->` before a block means "while `kubernaut up` runs, in a second terminal"; all such blocks
of one page are one session, from the first to the last.
Blocks marked `python`, `yaml` or `json` are parsed; `text` and `rego` blocks show something and are not checked.
"""

import ast
import itertools
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(?:<!-- with: (?P<context>\w+) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)

# These are what CI runs around this test; inside it they would run the whole suite again.
RUN_BY_CI = re.compile(r"make (test|check|bench|install|demo|up)\b")

SESSION_TIMEOUT = 150  # seconds


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    text: str
    context: str

    @property
    def name(self):
        return str(self.page.relative_to(ROOT))

    def __str__(self):
        return f"{self.name}:{self.line}"

    @property
    def commands(self):
        joined = self.text.replace("\\\n> ", "").replace("\\\n", "")
        return [line.removeprefix("$ ") for line in joined.splitlines() if line.startswith("$ ")]


def blocks(*languages):
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in BLOCK.finditer(text):
            line = text[: match.start()].count("\n") + 1
            block = Block(page, line, match["language"], match["text"], match["context"] or "")
            if block.language in languages:
                found.append(block)
    return found


def run(commands, cwd, env=None):
    script = "\n".join(command for command in commands if not RUN_BY_CI.match(command))
    environment = {**os.environ, **(env or {}), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SESSION_TIMEOUT,
        check=False,
    )


@pytest.mark.parametrize("block", [b for b in blocks("console") if not b.context], ids=str)
def test_session_runs(block, tmp_path):
    # A session may write files; those belong into no clone.
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for path in ROOT.iterdir():
        (checkout / path.name).symlink_to(path)

    done = run(block.commands, checkout, {"WORK": str(tmp_path)})

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("block", blocks("yaml", "json"), ids=str)
def test_data_parses(block):
    if block.language == "json":
        json.loads(block.text)
    else:
        assert list(yaml.safe_load_all(block.text))


def test_every_block_says_what_it_is():
    known = {"console", "text", "yaml", "json", "rego", "python", "sql", "toml"}

    assert [
        str(b) for b in blocks(*{m["language"] for p in PAGES for m in BLOCK.finditer(p.read_text())} - known)
    ] == []


def sessions_beside_a_stack():
    """The blocks of each page that has some, in their order."""
    found = [block for block in blocks("console") if block.context == "up"]
    return [list(session) for _, session in itertools.groupby(found, key=lambda block: block.page)]


@pytest.mark.timeout(300)
@pytest.mark.kubernetes
@pytest.mark.parametrize("session", sessions_beside_a_stack(), ids=lambda session: session[0].name)
def test_session_runs_beside_a_running_stack(session, up):
    commands = [line for block in session for line in (f"echo '# {block}' >&2", *block.commands)]

    done = run(commands, ROOT, up.env)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_is_python(block):
    compile(block.text, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
