"""What the audited events of the interpreter say: a file was written, a connection made, a process started."""

import functools
import os
import re
import socket
import subprocess
from collections.abc import Callable
from typing import Any, Protocol

from pytest_muster.records.audit_hook import event_frame

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_NOISE = re.compile(
    r"/__pycache__/|/site-packages/|/\.pytest_cache/|/\.muster/|/\.hypothesis/|\.pyc(\.\d+)?$|/\.coverage"
    r"|^/dev/(?!shm/)|^/proc/|^/sys/"
)

Entry = tuple[Any, ...]
"""(kind, name, value, name, value, …): what one line of the record says."""


class Recorder(Protocol):
    """What an interpreter of events may tell its recorder beside the entry."""

    last_address: str | None
    environ: dict[str, str | None]
    is_moved: bool

    def expect_pid(self, entry: Entry, child: object) -> None: ...


Interpret = Callable[[Recorder, tuple[Any, ...]], Entry | None]
"""What an event says, or None if it is of no interest."""


def _text(value: object) -> str:
    return os.fsdecode(value) if isinstance(value, bytes) else str(value)


def _path(value: Any) -> str | None:
    """An absolute path, or None for what is no path or of no interest."""
    if type(value) is str and value.startswith("/"):
        return _absolute(value)
    if isinstance(value, int) or value is None:
        return None
    return _absolute(os.path.abspath(os.fsdecode(value)))  # noqa: PTH100  # an audit hook must be quick


@functools.lru_cache(maxsize=1024)
def _absolute(path: str) -> str | None:
    path = os.path.normpath(path)
    return None if _NOISE.search(path) else path


def _open(recorder: Recorder, args: tuple[Any, ...]) -> Entry | None:
    if not isinstance(args[2], int) or not args[2] & WRITING:
        return None
    path = _path(args[0])
    return (path and ("write", "path", path)) or None


def _on_path(kind: str, *, directory_argument: int | None = None) -> Interpret:
    def interpret(recorder: Recorder, args: tuple[Any, ...]) -> Entry | None:
        if directory_argument is not None and args[directory_argument] not in {-1, None}:
            return None  # relative to an open directory: `shutil.rmtree`, which is audited itself
        path = _path(args[0])
        return (path and (kind, "path", path)) or None

    return interpret


def _to_path(recorder: Recorder, args: tuple[Any, ...]) -> Entry | None:
    path = _path(args[1])
    return (path and ("write", "path", path)) or None


def _rename(recorder: Recorder, args: tuple[Any, ...]) -> Entry | None:
    path, to = _path(args[0]), _path(args[1])
    return ("rename", "path", path, "to", to) if path and to else None


_family_of: Callable[[socket.socket], int] = socket.SocketType.family.__get__  # `.family` makes an enum
_INET = {int(socket.AF_INET): "inet", int(socket.AF_INET6): "inet6"}


def _address(kind: str, sock: socket.socket, address: Any) -> Entry | None:
    family = _family_of(sock)
    if family == socket.AF_UNIX:
        return (kind, "address_family", "unix", "path", _text(address))
    if family in _INET and isinstance(address, tuple):
        return (kind, "address_family", _INET[family], "host", _text(address[0]), "port", address[1])
    return None


def _connect(recorder: Recorder, args: tuple[Any, ...]) -> Entry | None:
    entry = _address("connect", args[0], args[1])
    if entry is not None:
        recorder.last_address = entry[4] if entry[2] == "unix" else f"{entry[4]}:{entry[6]}"
    return entry


def _bind(recorder: Recorder, args: tuple[Any, ...]) -> Entry | None:
    return _address("listen", args[0], args[1])


def _resolve(recorder: Recorder, args: tuple[Any, ...]) -> Entry | None:
    return ("resolve", "host", _text(args[0])) if args[0] else None


def _spawn(recorder: Recorder, args: tuple[Any, ...]) -> Entry:
    argv = args[1] if isinstance(args[1], list | tuple) else [args[1]]
    entry = ("spawn", "argv", tuple(_text(one) for one in argv))
    recorder.expect_pid(entry, event_frame().f_locals.get("self"))  # `Popen` that raises the event
    return entry


def _posix_spawn(recorder: Recorder, args: tuple[Any, ...]) -> Entry | None:
    caller = event_frame().f_locals.get("self")  # since Python 3.13 `Popen` often does it this way
    return None if isinstance(caller, subprocess.Popen) else _spawn(recorder, args)


def _system(recorder: Recorder, args: tuple[Any, ...]) -> Entry:
    return ("spawn", "argv", ("sh", "-c", _text(args[0])))


def _fork(recorder: Recorder, args: tuple[Any, ...]) -> Entry:
    return ("spawn", "argv", ("(fork)",))


def _kill(*, group: bool) -> Interpret:
    def interpret(recorder: Recorder, args: tuple[Any, ...]) -> Entry | None:
        return ("kill", "pid", args[0], "signal", int(args[1]), "group", group) if args[1] else None

    return interpret


def _env(action: str) -> Interpret:
    def interpret(recorder: Recorder, args: tuple[Any, ...]) -> Entry | None:
        name = _text(args[0])
        if name == "PYTEST_CURRENT_TEST":
            return None
        if name not in recorder.environ:
            recorder.environ[name] = os.environ.get(name)  # os.environ changes after the event
        return ("env", "name", name, "action", action)

    return interpret


def _chdir(recorder: Recorder, args: tuple[Any, ...]) -> Entry:
    recorder.is_moved = True
    return ("chdir", "path", _text(args[0]))


def _sqlite(recorder: Recorder, args: tuple[Any, ...]) -> Entry | None:
    name = _text(args[0])
    if name == ":memory:" or not name:
        return None
    path = name if name.startswith("file:") else _path(name)
    return (path and ("sqlite", "path", path)) or None


INTERPRETERS: dict[str, Interpret] = {
    "open": _open,
    "os.truncate": _on_path("write"),
    "os.remove": _on_path("remove", directory_argument=1),
    "os.rmdir": _on_path("remove", directory_argument=1),
    "shutil.rmtree": _on_path("remove"),
    "os.rename": _rename,
    "os.link": _to_path,
    "os.symlink": _to_path,
    "os.mkdir": _on_path("mkdir", directory_argument=2),
    "os.chdir": _chdir,
    "sqlite3.connect": _sqlite,
    "socket.connect": _connect,
    "socket.bind": _bind,
    "socket.getaddrinfo": _resolve,
    "socket.gethostbyname": _resolve,
    "subprocess.Popen": _spawn,
    "os.posix_spawn": _posix_spawn,
    "os.exec": _spawn,
    "os.system": _system,
    "os.fork": _fork,
    "os.forkpty": _fork,
    "os.kill": _kill(group=False),
    "os.killpg": _kill(group=True),
    "os.putenv": _env("set"),
    "os.unsetenv": _env("unset"),
}
