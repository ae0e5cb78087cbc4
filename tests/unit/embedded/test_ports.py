"""A port that is known before its server listens."""

import socket
import sys

import pytest

from kubernaut.embedded.ports import HOST, reserved_port


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a port be held and used")
def test_a_reserved_port_is_given_to_nobody_by_chance_and_its_server_can_listen():
    with reserved_port() as port:
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind((HOST, port))
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((HOST, port))
            server.listen()
            with socket.create_connection((HOST, port), timeout=5):
                pass


def test_a_preferred_port_that_is_in_use_is_replaced():
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        taken = other.getsockname()[1]

        with reserved_port(taken) as port:
            assert port != taken
