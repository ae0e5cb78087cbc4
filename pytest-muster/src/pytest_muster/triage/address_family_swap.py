"""A rerun in the other address family: what connects to this machine tries the other family first.

A test that fails with `::1` and passes once its connections go to 127.0.0.1 first, or the reverse, has a service that
listens in the other family. Only sockets of Python are swapped, only in a rerun, and only to this machine.
"""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_OTHER = {socket.AF_INET: (socket.AF_INET6, "::1"), socket.AF_INET6: (socket.AF_INET, "127.0.0.1")}
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
CONNECT_TIMEOUT = 1.0  # seconds for a connection to this machine

_Connect = Callable[..., Any]


def apply() -> None:
    """From now on, for the rest of this process."""
    socket.socket.connect = _swapping(socket.socket.connect, None)  # type: ignore[method-assign]
    socket.socket.connect_ex = _swapping(socket.socket.connect_ex, 0)  # type: ignore[method-assign]


def _swapping(original: _Connect, success: int | None) -> _Connect:
    def connect(self: socket.socket, address: Any, /) -> Any:
        if (
            self.family in _OTHER
            and isinstance(address, tuple)
            and address[0] in _LOOPBACK
            and _is_swapped(self, address)
        ):
            return success
        return original(self, address)

    return connect


def _is_swapped(sock: socket.socket, address: tuple[Any, ...]) -> bool:
    """Whether the socket is connected to the same port in the other family now."""
    family, host = _OTHER[socket.AddressFamily(sock.family)]
    with suppress(OSError), socket.socket(family, sock.type) as other:
        other.settimeout(CONNECT_TIMEOUT)
        if other.type == socket.SOCK_STREAM and _socket_connect(other, (host, address[1])):
            other.settimeout(sock.gettimeout())
            os.dup2(other.fileno(), sock.fileno())
            return True
    return False


def _socket_connect(sock: socket.socket, address: tuple[str, int]) -> bool:
    return super(socket.socket, sock).connect_ex(address) == 0
