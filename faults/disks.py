"""Small disks of their own for a process's files, which can be filled to the last byte."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_FILLER = "filler"
_CHUNK = bytes(2**20)


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A tmpfs."""

    path: Path

    @contextmanager
    def filled(self) -> Iterator[None]:
        """Not a byte is free inside the block, unless the process frees some itself."""
        try:
            self._fill()
            yield
        finally:
            self.release()

    def _fill(self) -> None:
        with (self.path / _FILLER).open("wb", buffering=0) as file:
            chunk = _CHUNK
            while chunk:
                try:
                    file.write(chunk)
                except OSError:
                    chunk = chunk[: len(chunk) // 2]

    def release(self) -> None:
        """There is room again."""
        (self.path / _FILLER).unlink(missing_ok=True)


def can_mount(directory: Path) -> bool:
    """Whether this process may mount a tmpfs."""
    path = directory / "mount-probe"
    path.mkdir(exist_ok=True)
    if os.geteuid() != 0 or not _mount(path, 2**20):
        return False
    subprocess.run(["umount", str(path)], check=True, timeout=10)
    return True


@contextmanager
def mounted(path: Path, size: int) -> Iterator[Disk]:
    """An empty disk of `size` bytes at `path`."""
    path.mkdir(parents=True, exist_ok=True)
    if not _mount(path, size):
        raise OSError(f"a tmpfs cannot be mounted at {path}")
    try:
        yield Disk(path=path)
    finally:
        # Lazily: the kernel may still be at the end of a process that was killed.
        subprocess.run(["umount", "--lazy", str(path)], check=True, timeout=10)


def mounts_below(directory: Path) -> list[str]:
    """Where something is still mounted."""
    places = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return [place for place in places if Path(place).is_relative_to(directory)]


def _mount(path: Path, size: int) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0711", "tmpfs", str(path)]
    try:
        return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0
    except OSError:
        return False
