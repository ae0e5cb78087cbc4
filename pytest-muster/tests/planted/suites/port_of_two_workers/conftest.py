import os
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from names import who

FIRST = 20000 + zlib.crc32(__file__.encode()) % 9000


@pytest.fixture(scope="session")
def me():
    return f"server of {os.getpid()}"


@pytest.fixture(scope="session")
def server(worker_id, me):
    number = int(worker_id.removeprefix("gw")) if worker_id != "master" else 0
    port = FIRST + number // 2
    serve = Path(__file__).with_name("serve.py")
    process = subprocess.Popen([sys.executable, serve, str(port), me], stderr=subprocess.DEVNULL)
    for _ in range(200):
        try:
            who(port)
            break
        except OSError:
            time.sleep(0.05)
    yield port
    process.kill()
    process.wait()
