import socket

import pytest


def say(port, text):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(f"{text}\n".encode())
        return connection.makefile().read()


@pytest.mark.parametrize("number", range(10))
def test_own_key(store, number):
    assert say(store["port"], f"key-{number} {number}") == str(number)
    assert say(store["port"], f"key-{number}") == str(number)


def test_unknown_key(store):
    assert say(store["port"], "unknown") == "-"
