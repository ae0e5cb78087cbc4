import socket
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def station():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, Path(__file__).with_name("serve.py"), str(port)])
    yield port
    process.kill()
    process.wait()
