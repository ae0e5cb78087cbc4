"""The five minutes of the README, as a reader would spend them."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

import pytest_muster
from pytest_muster.cli import COMMANDS
from pytest_muster.exits import ExitCode

ROOT = Path(__file__).parents[1]
FOREIGN = ("PYTEST", "MUSTER", "COV_", "CI", "NO_COLOR", "FORCE_COLOR", "COLUMNS")


@dataclass(frozen=True, kw_only=True)
class Block:
    language: str
    text: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(language=found[1], text=found[2], line=text.count("\n", 0, found.start()) + 1)


def five_minutes() -> list[Block]:
    """The blocks of the chapter with that name."""
    page = (ROOT / "README.md").read_text().splitlines()
    begin = page.index("## Five minutes")
    end = next(number for number in range(begin + 1, len(page)) if page[number].startswith("## "))
    return [block for block in blocks(ROOT / "README.md") if begin < block.line <= end]


def settled(line: str) -> str:
    """A line without what differs from run to run: durations, numbers of workers and ports, the length of rules."""
    line = re.sub(r"\b\d+(\.\d+)? ?(s|seconds|ms)\b", "N s", line.rstrip())
    line = re.sub(r"\bgw\d\b", "gwN", line)
    line = re.sub(r"\d{8}T\d{6}Z-\w+", "RUN", line)
    return re.sub(r"={3,}", "===", line)


def assert_shown(block: Block, expected: list[str], printed: str) -> None:
    """Every line of the block is printed, in this order; `…` stands for what is left out."""
    lines = iter([settled(line) for line in printed.splitlines()])
    for line in expected:
        if line.strip() not in {"", "…"}:
            shown = re.compile(re.escape(settled(line)).replace("…", ".*"))
            found = any(shown.fullmatch(other) for other in lines)
            assert found, f"README.md:{block.line}: {line!r} was not printed here:\n{printed}"


@pytest.mark.timeout(300)
def test_every_block_of_the_five_minutes_does_what_it_shows(tmp_path):
    env = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    for block in five_minutes():
        if block.language == "python":
            name = re.match(r"# (\S+\.py)\n", block.text)
            assert name, f"README.md:{block.line}: the first line names no file"
            (tmp_path / name[1]).write_text(block.text)
            continue
        assert block.language == "console", block
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, *expected = part.splitlines()
            if command == "pip install pytest-muster":
                assert version("pytest-muster")  # it is installed, as this is its own test
                continue
            done = subprocess.run(
                shlex.split(command), cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200, check=False
            )
            assert_shown(block, expected, done.stdout + done.stderr)


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_python_on_a_page_is_python(page):
    for block in blocks(page):
        if block.language == "python":
            compile(block.text, f"{page.name}:{block.line}", "exec")


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*/README.md")]:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_tables_name_every_option_and_exit_code():
    page = (ROOT / "README.md").read_text()
    shown = subprocess.run(
        [sys.executable, "-m", "pytest", "--help"], capture_output=True, text=True, timeout=60, check=True
    )

    options = set(re.findall(r"--muster-[a-z-]+", shown.stdout))
    assert "--muster-deadline" in options
    assert sorted(option for option in options if option not in page) == []
    ini = set(re.findall(r"^ +(muster_[a-z_]+) \(", shown.stdout, re.MULTILINE))
    assert sorted(name for name in ini if f"`{name}`" not in page) == []
    assert all(f"| {code.value} |" in page for code in ExitCode)


def test_the_tables_name_every_command():
    page = (ROOT / "README.md").read_text()

    assert [name for name in COMMANDS if f"`muster {name}" not in page] == []


def test_the_tables_name_everything_public():
    page = (ROOT / "README.md").read_text()

    assert [name for name in pytest_muster.__all__ if f"muster.{name}" not in page] == []
