import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, Path(__file__).with_name("serve.py"), str(port)])
    yield port
    process.kill()
    process.wait()


def ask(port):
    for _ in range(200):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                return connection.recv(100)
        except OSError:
            time.sleep(0.05)
    raise AssertionError("nobody answers")


@pytest.mark.parametrize("turn", range(8))
def test_answer(port, turn):
    assert ask(port) == b"fine"
