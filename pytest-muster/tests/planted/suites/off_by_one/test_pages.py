import socket
import subprocess
import sys

import pytest
from pages import pages


@pytest.mark.parametrize("count", range(1, 5))
def test_full_pages(count):
    assert pages(count * 10, 10) == count


def test_last_page():
    assert pages(21, 10) == 3


def test_two_pages():
    assert pages(11, 10) == 2


def test_closed_door():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_child_is_killed():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    process.kill()
    assert process.wait() == -9
