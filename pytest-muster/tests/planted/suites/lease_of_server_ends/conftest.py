import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def atlas_port(tmp_path_factory):
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    info = root / "atlas.port"
    with (root / "atlas.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not info.exists():
            subprocess.Popen([sys.executable, Path(__file__).with_name("serve.py"), info], start_new_session=True)
        while not info.exists():
            time.sleep(0.02)
    return int(info.read_text())
