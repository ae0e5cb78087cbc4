"""Ports that nobody else on this host is given: no other test, worker, run or project of this user.

Each port has a lock file in a directory of the user. Who leases the port holds the lock, and the kernel lets it go when
that process ends, however it ends. A leased port is free on 127.0.0.1 and ::1, and lies outside the range from which
the kernel takes the ports of outgoing connections, so that no connection can take it before a server does.
"""

import contextlib
import errno
import fcntl
import os
import random
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

from pytest_muster.records.temporary import user_directory

_LOWEST = 11000
_EPHEMERAL = (32768, 60999)  # Linux's default; that of macOS lies above it
_FEW = 2000  # ports; a range with fewer is no range to choose from

_lock = threading.Lock()
_cursors: dict[int, int] = {}


@dataclass(frozen=True, kw_only=True)
class Port:
    """A port that is ours until it is given back, or until this process ends."""

    number: int
    lock: int

    def release(self) -> None:
        with contextlib.suppress(OSError):
            fcntl.flock(self.lock, fcntl.LOCK_UN)  # a forked child may hold the same lock
            os.close(self.lock)


def lease_port(*, slot: int = 1, slots: int = 1) -> Port:
    """A port of this host. Each slot looks in a region of its own first, so that workers do not meet.

    Raises `OSError` if every port is taken.
    """
    first, last = port_range()
    count = last - first + 1
    directory = user_directory() / "ports"
    directory.mkdir(mode=0o700, exist_ok=True)
    with _lock:
        region = count // (slots + 1)  # one more for the shared things of the controller, slot 0
        start = _cursors.get(slot)
        if start is None:
            # Runs that begin at the same place would ask for the same locks.
            start = region * slot + random.Random().randrange(max(region, 1))  # noqa: S311 - not the generator that tests seed
        for step in range(count):
            offset = (start + step) % count
            port = _take(directory, first + offset)
            if port is not None:
                _cursors[slot] = offset + 1
                return port
    raise OSError(errno.EADDRINUSE, f"every port from {first} to {last} is leased or in use")


def port_range() -> tuple[int, int]:
    """The ports that may be leased, first and last."""
    low, high = _ephemeral_range()
    below, above = (_LOWEST, low - 1), (high + 1, 65535)
    widest = max(below, above, key=lambda span: span[1] - span[0])
    return widest if widest[1] - widest[0] >= _FEW else (_LOWEST, 65535)


def _ephemeral_range() -> tuple[int, int]:
    with contextlib.suppress(OSError, ValueError):
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()
        return int(low), int(high)
    return _EPHEMERAL


def _take(directory: Path, number: int) -> Port | None:
    lock = os.open(directory / str(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    if not is_free(number):
        os.close(lock)
        return None
    return Port(number=number, lock=lock)


def is_free(number: int) -> bool:
    """Whether nobody uses the port, neither on 127.0.0.1 nor on ::1."""
    return _can_bind(socket.AF_INET, ("127.0.0.1", number)) and _can_bind(socket.AF_INET6, ("::1", number))


def _can_bind(family: socket.AddressFamily, address: tuple[str, int]) -> bool:
    try:
        with socket.socket(family) as probe:
            probe.bind(address)
    except OSError as error:
        return error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)  # a host without IPv6
    return True
