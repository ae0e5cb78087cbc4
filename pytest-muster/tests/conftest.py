"""What several test files of the plugin need."""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_muster.records.journal import Journal, Line, read
from pytest_muster.records.run import Role, Run

pytest_plugins = ["pytester"]

# A shell ignores Ctrl-C for what it runs in the background, and every process below inherits that. Here processes are
# interrupted on purpose.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)  # other tests of this worker do want to know
def no_outer_run() -> Iterator[None]:
    """The runs that tests start know nothing of the run in which those tests are."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("PYTEST_XDIST_", "MUSTER_", "COV_CORE_"))]:
            patch.delenv(name)
        # Plugins that happen to be installed here, and take seconds to be imported by each of some hundred runs.
        patch.setenv("PYTEST_ADDOPTS", "-p no:schemathesis -p no:hypothesispytest -p no:valkey -p no:pocketkube")
        yield


@pytest.fixture
def a_run(tmp_path):
    """Make a run that this process owns, as the plugin would."""
    journals = []
    own = f"20260102T030405Z-{secrets.token_hex(3)}"  # its end names directories outside of the project

    def make(*, id: str = own, worker: str = "main", slot: int = 1, workers: int = 1) -> Run:
        directory = tmp_path / ".muster" / "runs" / id
        journals.append(Journal(directory / "record.jsonl"))
        return Run(
            id=id,
            role=Role.ALONE if worker == "main" else Role.WORKER,
            directory=directory,
            worker=worker,
            slot=slot,
            workers=workers,
            journal=journals[-1],
        )

    yield make
    for journal in journals:
        journal.close()


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """Wait until something is true, at most 20 seconds."""

    def wait(check: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not check():
            assert time.monotonic() < deadline, "it did not become true"
            time.sleep(0.01)

    return wait


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a nested run ended."""

    code: int
    out: str
    log: list[str]
    """What the suite wrote to the file that `LOG` names, line by line."""
    record: list[Line]

    def of(self, type: str, **fields: object) -> list[Line]:
        """The lines of the record with these values."""
        return [line for line in self.record if line["type"] == type and fields.items() <= line.items()]


class Nested:
    """A test suite of its own, run by a pytest in a process of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "log"
        self._running: list[subprocess.Popen[str]] = []

    def write(self, name: str, text: str) -> None:
        file = self.directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """In a session of its own, so that a whole group can be sent a signal; its standard input is empty."""
        # Hypothesis imports itself at the end of each session; with a cache of bytecode all of it starts sooner.
        mine = {**os.environ, "PYTHONPYCACHEPREFIX": str(_CACHE), "LOG": str(self.log), **environment}
        mine.pop("PYTHONDONTWRITEBYTECODE", None)
        plugins = [f"-p no:{name}" for name in ("randomly", "asyncio", "hypothesispytest", "cacheprovider")]
        self._running.append(
            subprocess.Popen(
                [sys.executable, "-m", "pytest", *" ".join(plugins).split(), *arguments],
                cwd=self.directory,
                env={name: value for name, value in mine.items() if not name.startswith(("PYTEST_XDIST_", "MUSTER_"))},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        )
        return self._running[-1]

    def end(self, running: subprocess.Popen[str]) -> Done:
        out, _ = running.communicate(timeout=90)
        runs = sorted((self.directory / ".muster" / "runs").glob("*"), key=lambda run: run.stat().st_mtime)
        log = self.log.read_text().splitlines() if self.log.exists() else []
        return Done(code=running.returncode, out=out, log=log, record=read(runs[-1]) if runs else [])

    def run(self, *arguments: str, **environment: str) -> Done:
        return self.end(self.start(*arguments, **environment))

    def close(self) -> None:
        for running in self._running:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
                running.communicate()


_CACHE = Path(tempfile.gettempdir()) / f"muster-bytecode-{os.getuid()}"


@pytest.fixture
def nested(tmp_path):
    suite = Nested(tmp_path)
    yield suite
    suite.close()
