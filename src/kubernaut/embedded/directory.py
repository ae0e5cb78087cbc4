"""The data directory of a stack: ours or empty, used by one stack at a time, kept or removed at the end.

A marker file says that a directory is ours and which format it has; any other directory that is not empty is rejected,
so that a mistyped path never mixes our files with somebody else's. A flock keeps a second stack out; the kernel
releases it when its process ends, so there are no stale locks.
"""

import contextlib
import errno
import fcntl
import json
import os
import pwd
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kubernaut.embedded.binaries import may_enter
from kubernaut.embedded.errors import EmbeddedError

FORMAT = 1
_MARKER = "kubernaut-data.json"
_LOCK = "lock"
_PORTS = "ports.json"
_TEMPORARY = "kubernaut-demo-"
_MAX_STACKS = 20


class DirectoryInUse(EmbeddedError):
    """Another stack is using the data directory; `holder` says which process."""

    def __init__(self, message: str, *, holder: str = "") -> None:
        super().__init__(message)
        self.holder = holder


@dataclass(frozen=True, kw_only=True)
class DataDirectory:
    """A directory that belongs to this process until its block ends."""

    path: Path

    def subdirectory(self, name: str) -> Path:
        """The directory of one component of the stack; created if it is missing."""
        path = self.path / name
        path.mkdir(exist_ok=True, mode=0o700)
        return path

    def saved_port(self, name: str) -> int:
        """The port that the component had at the last start, or 0."""
        port = self._ports().get(name, 0)
        return port if isinstance(port, int) and 0 < port < 65536 else 0

    def save_port(self, name: str, port: int) -> None:
        """Give the component the same port at the next start, so that addresses stay valid."""
        fresh = self.path / f"{_PORTS}.new"
        fresh.write_text(json.dumps({**self._ports(), name: port}, indent=2) + "\n")
        fresh.replace(self.path / _PORTS)

    def _ports(self) -> dict[str, object]:
        try:
            ports = json.loads((self.path / _PORTS).read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return ports if isinstance(ports, dict) else {}


@contextmanager
def open_directory(path: Path) -> Iterator[DataDirectory]:
    """Lock an empty, a new, or one of our own directories; only this process uses it until the block ends.

    Raises `DirectoryInUse`, and `EmbeddedError` for a directory that is not ours.
    """
    path = path.absolute()
    _create(path)
    _reject_foreign(path)
    with _lock(path):
        _reject_foreign(path)
        if not (path / _MARKER).exists():
            fresh = path / f"{_MARKER}.new"
            fresh.write_text(
                json.dumps({"format": FORMAT, "description": "data of kubernaut up or kubernaut demo"}) + "\n"
            )
            fresh.replace(path / _MARKER)
        yield DataDirectory(path=path)


@contextmanager
def open_default_directory(
    env: Mapping[str, str], report: Callable[[str], None] = lambda description: None
) -> Iterator[DataDirectory]:
    """The user's default data directory; a numbered one beside it, which is reported, when another stack uses that."""
    first = default_directory(env)
    for number in range(1, _MAX_STACKS + 1):
        path = first if number == 1 else first.with_name(f"{first.name}-{number}")
        with contextlib.ExitStack() as stack:
            try:
                directory = stack.enter_context(open_directory(path))
            except DirectoryInUse as error:
                if number == 1:
                    report(f"another stack runs already ({error.holder}): this one gets a data directory of its own")
                continue
            if number > 1:
                report(f"data directory {path}")
            yield directory
            return
    raise DirectoryInUse(f"{_MAX_STACKS} stacks are running in {first.parent}: stop one, or choose --data-dir")


@contextmanager
def open_temporary_directory() -> Iterator[DataDirectory]:
    """A directory that is removed at the end; those of stacks that were killed are removed as well."""
    parent = Path(tempfile.gettempdir())
    for stale in parent.glob(f"{_TEMPORARY}*"):
        # Not ours, in use, or removed by another process at this moment.
        with contextlib.suppress(EmbeddedError, OSError), open_existing(stale):
            shutil.rmtree(stale, ignore_errors=True)
    path = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=parent))
    _create(path)
    try:
        with open_directory(path) as directory:
            yield directory
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def open_existing(path: Path) -> Iterator[DataDirectory]:
    """Lock one of our own directories; never creates one. Raises `EmbeddedError` when it is not ours."""
    if not (path / _MARKER).is_file():
        raise EmbeddedError(f"{path} is not a data directory of Kubernaut")
    with open_directory(path) as directory:
        yield directory


def default_directory(env: Mapping[str, str]) -> Path:
    """`$XDG_DATA_HOME/kubernaut/up`, where XDG_DATA_HOME is `~/.local/share` unless it is set.

    For root it is `/var/lib/kubernaut/up` where other users cannot enter root's home: PostgreSQL never runs as root.
    """
    home = Path(env.get("HOME") or pwd.getpwuid(os.geteuid()).pw_dir)
    share = Path(env["XDG_DATA_HOME"]) if env.get("XDG_DATA_HOME") else home / ".local" / "share"
    path = share / "kubernaut" / "up"
    if os.geteuid() == 0:
        existing = next(parent for parent in path.absolute().parents if parent.exists())
        if not may_enter(existing, pwd.getpwnam("nobody").pw_uid):
            return Path("/var/lib/kubernaut/up")
    return path


def _create(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        if path.stat().st_uid == os.geteuid() and _is_ours_or_empty(path):
            # Root's PostgreSQL runs as another user, who must pass through; nobody else may look inside.
            path.chmod(0o711 if os.geteuid() == 0 else 0o700)
    except (FileExistsError, NotADirectoryError):
        raise EmbeddedError(f"{path} is not a directory: choose another --data-dir") from None
    except OSError as error:
        raise EmbeddedError(
            f"cannot use {path} as data directory: {error.strerror}: choose another --data-dir"
        ) from None


def _reject_foreign(path: Path) -> None:
    owner = path.stat().st_uid
    if owner != os.geteuid():
        raise EmbeddedError(f"{path} belongs to {_user_name(owner)}, not to you: choose a directory of your own")
    if not _is_ours_or_empty(path):
        raise EmbeddedError(
            f"{path} is not empty and is not a data directory of Kubernaut (it has no {_MARKER}):"
            " choose an empty or a new directory"
        )
    with contextlib.suppress(FileNotFoundError):
        found = _format_of(path / _MARKER)
        if found != FORMAT:
            raise EmbeddedError(
                f"{path} has data format {found}, but this version of Kubernaut supports format {FORMAT}:"
                " use the version that created it, or choose another directory"
            )


def _is_ours_or_empty(path: Path) -> bool:
    names = {entry.name for entry in path.iterdir()}
    return _MARKER in names or not names - {_LOCK, f"{_MARKER}.new"}


def _format_of(marker: Path) -> object:
    try:
        content = json.loads(marker.read_text())
    except ValueError:
        return "unknown"
    return content.get("format") if isinstance(content, dict) else "unknown"


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    fd = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(fd, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.EACCES}:
                raise
            holder = file.read().strip() or "unknown"
            text = f"{path} is in use by process {holder}: stop it, or choose another --data-dir"
            raise DirectoryInUse(text, holder=f"process {holder}") from None
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
