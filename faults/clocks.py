"""Wall clocks that are wrong, for one process each and without a line in the product.

`unshare --time` changes monotonic clocks only, and libfaketime would be one more dependency that needs a compiler. So
the C library's three functions for the wall clock are replaced by `clock.c`, a page of C that is compiled once a run
and preloaded. Where there is no compiler, clocks do not jump, and the report says so.
"""

import os
import shutil
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_SOURCE = Path(__file__).with_name("clock.c")
_TIMEOUT = 60  # seconds


@dataclass(frozen=True, kw_only=True)
class Clock:
    """The wall clock of one process."""

    library: Path
    file: Path

    @property
    def env(self) -> dict[str, str]:
        """What the process must have in its environment."""
        return {"LD_PRELOAD": str(self.library), "FAULTS_CLOCK": str(self.file)}

    @property
    def offset(self) -> int:
        """Seconds that it is ahead of the true time."""
        seconds: int = struct.unpack("q", self.file.read_bytes())[0]
        return seconds

    def set(self, offset: int) -> None:
        """Jump, also in a process that runs already."""
        with self.file.open("r+b", buffering=0) as file:
            file.write(struct.pack("q", offset))


def compile_library(directory: Path) -> Path | None:
    """The library that clocks need; None where it cannot be made or does not work."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        return None
    library = directory / "clock.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(_SOURCE)]
    if subprocess.run(command, capture_output=True, timeout=_TIMEOUT, check=False).returncode:
        return None
    clock = new_clock(library, directory / "clock-probe")
    clock.set(10**6)
    told = subprocess.run(
        [sys.executable, "-I", "-S", "-c", "import time; print(time.time())"],
        env={**os.environ, **clock.env},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    is_ahead = told.returncode == 0 and abs(float(told.stdout) - time.time() - 10**6) < _TIMEOUT
    return library if is_ahead else None


def new_clock(library: Path, file: Path) -> Clock:
    """A clock that shows the true time."""
    file.write_bytes(struct.pack("q", 0))
    return Clock(library=library, file=file)
