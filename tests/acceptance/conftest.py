"""A `kubernaut up` for the tests that look at it from outside."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.services import enterable_directory

BIN = Path(sys.executable).parent
START_WITHIN = 60  # seconds


@dataclass(kw_only=True)
class Up:
    """A running `kubernaut up`, known by what it printed."""

    process: subprocess.Popen[str]
    printed: str
    env: dict[str, str] = field(default_factory=dict)

    @property
    def webhook(self) -> str:
        return self.env["WEBHOOK"]

    def run(self, *command: object, check: bool = True, **more: object) -> subprocess.CompletedProcess[str]:
        """A command as a second terminal runs it, after the exports."""
        return subprocess.run(
            [str(part) for part in command],
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            timeout=60,
            check=check,
            **more,
        )


def start_up(directory: Path, *arguments: str, path: str = os.environ["PATH"]) -> Up:
    """Start it with that PATH and read what it prints until it waits for Ctrl-C."""
    command = [str(BIN / "kubernaut"), "up", "--data-dir", str(directory), *arguments]
    env = {**os.environ, "PATH": path}
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    printed = ""
    for line in process.stdout:
        printed += line
        if line.startswith("Press Ctrl-C"):
            break
    else:
        raise AssertionError(f"kubernaut up ended with {process.wait(START_WITHIN)}:\n{printed}")
    exports = {name: shlex.split(value)[0] for name, value in re.findall(r"^export (\w+)=(.+)$", printed, re.MULTILINE)}
    path = f"{BIN}:{os.environ['PATH']}"
    return Up(process=process, printed=printed, env={**exports, "PATH": path})


def stop_up(up: Up) -> int:
    """End it as Ctrl-C does; the answer is its exit code."""
    up.process.send_signal(signal.SIGINT)
    code = up.process.wait(30)
    up.process.stdout.close()
    return code


@pytest.fixture(scope="session")
def up() -> Iterator[Up]:
    """One for all tests of a worker; each makes a namespace of its own in it."""
    with enterable_directory() as path:
        running = start_up(path / "data")
        yield running
        assert stop_up(running) == 0
