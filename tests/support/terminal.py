"""Programs on a terminal of their own, as a person has them."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(kw_only=True)
class Terminal:
    """A program on a terminal, and what it has printed so far."""

    process: subprocess.Popen[bytes]
    descriptor: int
    printed: bytes = b""

    @property
    def text(self) -> str:
        """The lines without colours; a line that is erased and written again counts as two."""
        return _CONTROL.sub("", self.printed.decode().replace("\x1b[2K", "\n")).replace("\r", "")

    def read_until(self, text: str) -> None:
        """Wait until it has printed that."""
        while text not in self.printed.decode():
            assert self._read(), f"ended with {self.process.wait(20)}: {self.text}"

    def type(self, keys: str) -> None:
        """Press keys; \\x03 is Ctrl-C, \\x04 the end of the input."""
        os.write(self.descriptor, keys.encode())

    def wait(self, timeout: float = 60) -> int:
        """Read all that it prints; the exit code."""
        while self._read():
            pass
        return self.process.wait(timeout)

    def _read(self) -> bool:
        readable, _, _ = select.select([self.descriptor], [], [], 60)
        assert readable, f"printed nothing for a minute: {self.text}"
        try:
            part = os.read(self.descriptor, 65536)
        except OSError:  # the program has closed the terminal
            part = b""
        self.printed += part
        return bool(part)


@contextmanager
def open_terminal(
    command: Sequence[object], *, columns: int = 80, env: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """Run a command on a terminal of 24 lines; it is killed if it still runs at the end. `env` is added to ours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [str(part) for part in command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**kept, "TERM": "xterm", **(env or {})},
        start_new_session=True,
        # Ctrl-C reaches whoever has the terminal as its controlling one.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    try:
        yield Terminal(process=process, descriptor=ours)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(20)
        os.close(ours)
