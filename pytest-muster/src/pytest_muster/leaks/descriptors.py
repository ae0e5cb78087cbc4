"""What an open descriptor of this process is: a socket with its addresses, a file, an event loop."""

import contextlib
import os
import re
import socket
import stat
import sys
from dataclasses import dataclass

from pytest_muster.leaks.leak import LeakKind

DIRECTORY = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"

_PASSED_OVER = re.compile(r"/\.muster/|/muster-\d+/|/\.coverage|/\.hypothesis/|/site-packages/")
_EVENT_LOOP = "anon_inode:[eventpoll]"


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    number: str
    kind: LeakKind | None
    """None for what is closed, for pipes (what is at their other end counts) and for devices."""
    description: str
    """An address, or a path."""
    path: str | None = None
    """Of a file."""
    is_event_loop: bool = False
    is_socket_pair: bool = False


def kind_of(number: str) -> LeakKind | None:
    return _kind(_target(number))


def describe(number: str) -> Descriptor:
    target = _target(number)
    kind = _kind(target)
    if target == _EVENT_LOOP:
        text = "an event loop or selector that is still open"
        return Descriptor(number=number, kind=kind, description=text, is_event_loop=True)
    if not target.startswith("socket:"):
        return Descriptor(number=number, kind=kind, description=target, path=target)
    try:
        found = socket.socket(fileno=int(number))
    except OSError:
        return Descriptor(number=number, kind=kind, description=f"a socket ({target})")
    try:
        text, is_pair = _describe_socket(found)
        return Descriptor(number=number, kind=kind, description=text, is_socket_pair=is_pair)
    finally:
        found.detach()


def _target(number: str) -> str:
    """What the kernel says that a descriptor is; empty if it is closed."""
    if sys.platform == "linux":
        try:
            return os.readlink(f"{DIRECTORY}/{number}")  # noqa: PTH115
        except OSError:
            return ""
    try:
        mode = os.fstat(int(number)).st_mode
    except OSError:
        return ""
    return "socket:" if stat.S_ISSOCK(mode) else "(a file)" if stat.S_ISREG(mode) else "pipe:"


def _kind(target: str) -> LeakKind | None:
    if target.startswith("socket:") or target == _EVENT_LOOP:
        return LeakKind.SOCKETS
    if not target or target.startswith(("pipe:", "anon_inode:", "/proc/", "/sys/", "/memfd:")):
        return None
    if target.startswith("/dev/") and not target.startswith("/dev/shm/"):  # noqa: S108
        return None
    return None if _PASSED_OVER.search(target) else LeakKind.FILES


def _describe_socket(found: socket.socket) -> tuple[str, bool]:
    """Its addresses, and whether it is one of a pair without a name."""
    here = there = ""
    with contextlib.suppress(OSError):
        here = _address(found.getsockname())
    with contextlib.suppress(OSError):
        there = _address(found.getpeername())
    listens = False
    with contextlib.suppress(OSError):
        listens = bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    if found.family == socket.AF_UNIX:
        name = here or there
        if not name and not listens:
            return "a socket pair", True
        return f"Unix socket {name}" + (", listening" if listens else ""), False
    protocol = "UDP" if found.type == socket.SOCK_DGRAM else "TCP"
    if listens:
        return f"{protocol} {here}, listening", False
    return (f"{protocol} {here} → {there}" if there else f"{protocol} {here}, not connected"), False


def _address(address: object) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        return f"[{address[0]}]:{address[1]}" if ":" in str(address[0]) else f"{address[0]}:{address[1]}"
    return os.fsdecode(address) if isinstance(address, str | bytes) else ""
