import socket
import sys
from pathlib import Path

import pytest_muster as muster


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@muster.shared
def store(muster_run):
    port = muster_run.port()
    process = muster_run.start([sys.executable, str(Path(__file__).with_name("serve.py")), str(port)], log="store.log")
    muster_run.wait_until(lambda: answers(port), timeout=10, description="the store listens")
    yield {"url": f"http://127.0.0.1:{port}"}
    process.stop()
