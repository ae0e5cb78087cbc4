import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from depot import Depot


@pytest.fixture(scope="session")
def depot(tmp_path_factory):
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    info = root / "depot.json"
    with (root / "depot.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not info.exists():
            subprocess.Popen([sys.executable, Path(__file__).with_name("serve.py"), info], start_new_session=True)
        while not info.exists():
            time.sleep(0.02)
    server = json.loads(info.read_text())
    yield Depot(server["port"])
    with suppress(ProcessLookupError):
        os.kill(server["pid"], signal.SIGTERM)
