import subprocess
import sys
from pathlib import Path

import clock
import pytest


@pytest.fixture(scope="session")
def port():
    command = [sys.executable, Path(__file__).with_name("serve.py")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    yield int(process.stdout.readline())
    process.kill()
    process.communicate()


@pytest.mark.parametrize("turn", range(8))
def test_clock(port, turn):
    assert clock.read(port) == "noon"


def test_noon_is_a_word():
    assert "noon".isalpha()
