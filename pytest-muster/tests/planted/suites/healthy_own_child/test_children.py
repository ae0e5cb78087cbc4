import os
import signal
import subprocess
import sys

import pytest

COUNT = "import sys\nfor line in sys.stdin: print(len(line), flush=True)"


@pytest.fixture
def counter():
    process = subprocess.Popen([sys.executable, "-S", "-c", COUNT], stdin=-1, stdout=-1, text=True)
    yield process
    process.kill()
    process.communicate()


def test_counts(counter):
    counter.stdin.write("abc\n")
    counter.stdin.flush()
    assert counter.stdout.readline() == "4\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_killed(counter, name):
    os.kill(counter.pid, getattr(signal, name))
    assert counter.wait(10) == -getattr(signal, name)


def test_restarted():
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-S", "-c", "import os; os._exit(3)"])
        assert process.wait(10) == 3
