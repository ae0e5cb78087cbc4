"""The five minutes of the README, as a reader would spend them."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pocketkube

README = Path(__file__).parents[2] / "README.md"
FOREIGN = ("PYTEST", "MUSTER", "COV_", "CI", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "KUBE")


def blocks() -> Iterator[tuple[str, str]]:
    """Language and text of the blocks of the five minutes."""
    page = README.read_text()
    chapter = page[page.index("## Five minutes") : page.index("## What works")]
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", chapter, re.MULTILINE | re.DOTALL):
        yield found[1], found[2]


def assert_shown(expected: list[str], printed: str) -> None:
    """Every line is printed, in this order; `…` stands for what differs from run to run."""
    lines = iter(printed.splitlines())
    for line in expected:
        if line.strip():
            shown = re.compile(re.escape(line.rstrip()).replace("…", ".*"))
            assert any(shown.fullmatch(other.rstrip()) for other in lines), f"{line!r} was not printed here:\n{printed}"


@contextlib.contextmanager
def in_background(command: list[str], expected: list[str], where: Path, env: dict[str, str]) -> Iterator[None]:
    """Run a command that stays, once it has printed what is expected."""
    with subprocess.Popen(command, cwd=where, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert_shown(expected, "".join(process.stdout.readline() for _ in expected))
            yield
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0


@pytest.mark.timeout(180)
def test_every_block_of_the_five_minutes_does_what_it_shows(tmp_path):
    env = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    env["HOME"] = str(tmp_path)  # kubectl keeps a cache there
    with contextlib.ExitStack() as running:
        for language, text in blocks():
            if language == "python":
                name = re.match(r"# (\S+\.py)\n", text)
                assert name, f"the first line names no file: {text}"
                (tmp_path / name[1]).write_text(text)
                continue
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                line, *expected = part.splitlines()
                command = shlex.split(line)
                if command[:2] == ["pip", "install"]:
                    continue  # it is installed, as this is its own test
                if command[:2] == ["pocketkube", "run"]:
                    running.enter_context(in_background(command, expected, tmp_path, env))
                    continue
                done = subprocess.run(
                    command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False
                )
                assert done.returncode == 0, done.stdout + done.stderr
                assert_shown(expected, done.stdout)


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#:]+)\)", README.read_text()):
        assert (README.parent / link).exists(), link


def test_page_names_every_option():
    shown = subprocess.run(
        [sys.executable, "-m", "pocketkube", "run", "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    page = README.read_text()

    assert [option for option in set(re.findall(r"--[a-z-]+", shown.stdout)) - {"--help"} if option not in page] == []


def test_page_names_everything_public():
    page = README.read_text()

    assert [name for name in pocketkube.__all__ if name not in page] == []
