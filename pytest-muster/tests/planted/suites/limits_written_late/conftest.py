import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def branch(tmp_path_factory):
    directory = tmp_path_factory.mktemp("branch")
    agent = [sys.executable, Path(__file__).with_name("agent.py"), directory / "limits.json"]
    process = subprocess.Popen(agent)
    yield directory
    process.kill()
    process.wait()
