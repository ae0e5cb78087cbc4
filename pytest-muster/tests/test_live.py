"""The live view: what a person sees on a terminal, and what the log of a pipeline keeps."""

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from _pytest.config import create_terminal_writer

from pytest_muster.terminal import screen
from pytest_muster.terminal.board import Board, clock, duration
from pytest_muster.terminal.screen import Row, cells, cut

SUITE = """
import time
from pathlib import Path
import pytest

GATE = Path(__file__).with_name("gate")

@pytest.mark.parametrize("n", range(4))
def test_quick(n):
    assert n != 0, "zero is wrong"

def test_waits_for_the_gate():
    until = time.monotonic() + 30
    while not GATE.exists() and time.monotonic() < until:
        time.sleep(0.02)
"""

SHARED = """
import time
from pathlib import Path
import pytest_muster as muster

HERE = Path(__file__).parent

def wait_for(name):
    until = time.monotonic() + 30
    while not (HERE / name).exists() and time.monotonic() < until:
        time.sleep(0.02)

@muster.shared(timeout=60)
def server(muster_run):
    wait_for("start")
    yield {}
    wait_for("stop")
"""


class Terminal:
    """As much of a terminal as is needed to say what is on its screen."""

    def __init__(self, columns: int, lines: int) -> None:
        self.columns, self.lines = columns, lines
        self.rows: list[list[str]] = [[]]
        self.row = self.column = 0

    def feed(self, text: str) -> None:
        for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|.", text, re.DOTALL):
            self._one(token)

    def _one(self, token: str) -> None:
        if token == "\n":
            self.row += 1
        elif token == "\r":
            self.column = 0
        elif token.startswith("\x1b["):
            self._control(token[-1], token[2:-1])
        else:
            if self.column >= self.columns:
                self.row, self.column = self.row + 1, 0
            self._extend()
            row = self.rows[self.row]
            row.extend(" " * (self.column + 1 - len(row)))
            row[self.column] = token
            self.column += 1
        self._extend()

    def _control(self, letter: str, number: str) -> None:
        if letter == "A":
            self.row = max(0, self.row - int(number or 1))
        elif letter == "K":
            self._extend()
            del self.rows[self.row][self.column :]
        elif letter == "J":
            self._extend()
            del self.rows[self.row][self.column :]
            del self.rows[self.row + 1 :]
        else:
            assert letter == "m", f"a mode of the terminal was changed: {number}{letter}"

    def _extend(self) -> None:
        self.rows.extend([] for _ in range(self.row + 1 - len(self.rows)))

    def resize(self, columns: int) -> None:
        """Wrap what is there anew, as most terminals do; the cursor stays in its line."""
        wrapped: list[list[str]] = []
        for number, row in enumerate(self.rows):
            if number == self.row:
                self.row = len(wrapped)
                break
            wrapped += [row[start : start + columns] for start in range(0, max(len(row), 1), columns)]
        self.columns, self.rows, self.column = columns, [*wrapped, []], 0

    def text(self) -> str:
        return "\n".join("".join(row).rstrip() for row in self.rows)


class Watched:
    """A pytest that runs on a terminal of its own."""

    def __init__(self, directory: Path, *options: str, columns: int = 80, lines: int = 30, **env: str) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.descriptor = ours
        self.terminal = Terminal(columns, lines)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", *options],
            cwd=directory,
            env=plain_environment() | {"TERM": "xterm"} | env,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def until(self, seen: Callable[[str], object], timeout: float = 30.0) -> str:
        """What is on the screen as soon as `seen` says so."""
        end = time.monotonic() + timeout
        while not seen(self.terminal.text()):
            assert time.monotonic() < end, self.terminal.text()
            if not self._read():
                break
        assert seen(self.terminal.text()), self.terminal.text()
        return self.terminal.text()

    def end(self) -> int:
        end = time.monotonic() + 30
        while self._read() and time.monotonic() < end:
            pass
        return self.process.wait(timeout=10)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=10)
        os.close(self.descriptor)

    def _read(self) -> bool:
        if not select.select([self.descriptor], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self.descriptor, 65536)
        except OSError:  # how Linux says that the other side is closed
            return False
        self.terminal.feed(data.decode(errors="replace"))
        return bool(data)


def plain_environment() -> dict[str, str]:
    """The environment without what the outer run, or a pipeline, put into it."""
    foreign = ("PYTEST_XDIST", "MUSTER", "COV_", "CI", "BUILD_NUMBER", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "test_some.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    return tmp_path


@pytest.fixture
def watch(suite: Path) -> Iterator[Callable[..., Watched]]:
    with ExitStack() as stack:

        def start(*options: str, **others: Any) -> Watched:
            return stack.enter_context(closing(Watched(suite, *options, **others)))

        yield start


def test_a_terminal_shows_what_each_worker_does_and_keeps_only_the_failures(watch, suite):
    watched = watch("-n", "2")

    during = watched.until(lambda screen: " 1 failed" in screen and "waits_for_the_gate" in screen)
    (suite / "gate").touch()
    code = watched.end()
    after = watched.terminal.text()

    assert re.search(r"^gw\d +\d+\.\d s test_some\.py::test_waits_for_the_gate$", during, re.MULTILINE)
    assert re.search(r"^\d of 5 · (\d passed, )?1 failed · \d:\d\d$", during, re.MULTILINE)
    assert code == 1
    assert "FAILED test_some.py::test_quick[0]\n       gw" in after
    assert "AssertionError: zero is wrong" in after
    assert "1 failed, 4 passed" in after
    assert not re.search(r"idle|of 5 ·|^gw\d +\d", after, re.MULTILINE), after


def test_ctrl_c_leaves_a_clean_screen(watch, suite):
    watched = watch("-n", "2", "-k", "gate", columns=60)
    watched.until(lambda screen: "waits_for_the_gate" in screen)

    watched.process.send_signal(signal.SIGINT)
    (suite / "gate").touch()
    watched.end()
    after = watched.terminal.text()

    assert "KeyboardInterrupt" in after
    assert not re.search(r"of 1 ·|^gw\d +\d", after, re.MULTILINE), after


@pytest.mark.parametrize("options", [("-v",), ("-q",), ("--muster-live=off",)])
def test_who_asks_for_pytests_own_lines_gets_them(watch, suite, options):
    (suite / "gate").touch()

    watched = watch("-n", "1", *options)
    watched.end()
    seen = watched.terminal.text()

    assert "of 5 ·" not in seen
    assert "1 failed, 4 passed" in seen
    assert "PASSED" in seen if options == ("-v",) else "F...." in seen


def test_a_log_keeps_pytests_dots(suite):
    (suite / "gate").touch()

    command = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", "-n", "1"]
    done = subprocess.run(
        command, cwd=suite, env=plain_environment(), capture_output=True, text=True, timeout=60, check=False
    )

    assert "F...." in done.stdout
    assert "\x1b" not in done.stdout


class TerminalFile(io.StringIO):
    """What is written to it appears on a terminal."""

    def __init__(self, terminal: Terminal, encoding: str = "utf-8") -> None:
        super().__init__()
        self.terminal = terminal
        self.charset = encoding

    @property
    def encoding(self) -> str:
        return self.charset

    def write(self, text: str) -> int:
        text.encode(self.charset)
        self.terminal.feed(text.replace("\n", "\r\n"))  # as the line discipline of a terminal does
        return len(text)


def a_writer(terminal: Terminal, encoding: str = "utf-8") -> Any:
    """pytest's own terminal writer, where a configuration has it."""
    writer = create_terminal_writer(SimpleNamespace(option=SimpleNamespace(color="no", code_highlight="no")))
    writer._file = TerminalFile(terminal, encoding)
    return SimpleNamespace(get_terminal_writer=lambda: writer, line=writer.line, file=writer._file)


def test_a_narrower_terminal_keeps_what_was_written_above(monkeypatch):
    terminal = Terminal(40, 20)
    writer = a_writer(terminal)
    monkeypatch.setattr(screen, "size", lambda: (terminal.columns, terminal.lines))
    shown = screen.Screen(writer)
    writer.line("written before")
    shown.show([Row(text="x" * 30), Row(text="y" * 10)])

    terminal.resize(20)
    shown.show([Row(text="x" * 30), Row(text="z" * 10)])
    writer.line("written after")

    assert terminal.text().rstrip().splitlines() == ["written before", "written after", "…" + "x" * 18, "z" * 10]
    shown.close()
    assert terminal.text().rstrip().splitlines() == ["written before", "written after"]
    assert writer.get_terminal_writer()._file is writer.file


def test_a_terminal_that_lacks_a_character_shows_the_rows_nevertheless(monkeypatch):
    terminal = Terminal(40, 20)
    writer = a_writer(terminal, "ascii")
    monkeypatch.setattr(screen, "size", lambda: (terminal.columns, terminal.lines))
    shown = screen.Screen(writer)
    shown.show([Row(text="é" * 3)])
    writer.line("→ above")

    assert terminal.text().rstrip().splitlines() == ["\\u2192 above", "\\xe9" * 3]
    shown.close()
    assert terminal.text().rstrip() == "\\u2192 above"


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("tests/test_a.py::test_one", 40, "gw0 tests/test_a.py::test_one"),
        ("tests/test_a.py::test_one", 14, "gw0 …:test_one"),
        ("tests/測試.py::test_測試", 14, "gw0 …test_測試"),
        ("tests/測試.py::test_測試", 13, "gw0 …est_測試"),
        ("a\x1b[2Jb\n", 40, "gw0 a·[2Jb·"),
    ],
)
def test_a_row_is_cut_at_its_start_by_cells_and_moves_no_cursor(text, width, shown):
    prefix, end = cut(Row(prefix="gw0 ", text=text), width)

    assert prefix + end == shown
    assert cells(prefix + end) <= width


def test_the_remaining_time_comes_from_an_earlier_run():
    board = Board(expected={"a": 30.0, "b": 10.0, "c": 20.0})
    board.joins("gw0")
    board.joins("gw1")
    board.collected(["a", "b", "c"])
    board.started("gw0", "a", 100.0)

    assert board.rows(110.0)[-1].text == "0 of 3 · 0:10 · about 0:30 left"


def test_durations_read_as_one_says_them():
    assert [duration(0.04), duration(9.97), duration(185)] == ["0.0 s", "10 s", "3:05"]
    assert [clock(59.6), clock(3725)] == ["1:00", "1:02:05"]


def test_a_terminal_shows_a_shared_resource_until_it_is_down(watch, suite):
    (suite / "conftest.py").write_text(SHARED)
    (suite / "test_some.py").write_text(SUITE.replace("the_gate()", "the_gate(server)"))
    watched = watch("-n", "1", "-k", "gate")

    starting = watched.until(lambda screen: re.search(r"^starting .*server$", screen, re.MULTILINE))
    (suite / "start").touch()
    watched.until(lambda screen: re.search(r"^ready .*server$", screen, re.MULTILINE))
    (suite / "gate").touch()
    watched.until(lambda screen: re.search(r"^stopping .*server$", screen, re.MULTILINE))
    (suite / "stop").touch()
    code = watched.end()

    assert not re.search(r"^gw\d ", starting, re.MULTILINE), starting
    assert code == 0, watched.terminal.text()
    assert not re.search(r"^(ready|stopping) ", watched.terminal.text(), re.MULTILINE)


def test_the_death_of_a_worker_is_shown_and_its_line_goes(watch, suite):
    (suite / "test_some.py").write_text("import os\ndef test_exits(): os._exit(3)\ndef test_stays(): pass\n")
    watched = watch("-n", "1")

    code = watched.end()
    seen = watched.terminal.text()

    assert code == 1
    assert "FAILED test_some.py::test_exits\n       gw0: worker 'gw0' crashed while running" in seen
    assert "1 failed, 1 passed" in seen
    assert not re.search(r"^gw\d +\d", seen, re.MULTILINE), seen
