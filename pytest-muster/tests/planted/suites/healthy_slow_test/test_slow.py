import queue
import subprocess
import sys
import time

import pytest


def test_long_calculation():
    time.sleep(1.5)


def test_nobody_answers():
    with pytest.raises(queue.Empty):
        queue.Queue().get(timeout=0.2)


def test_child_is_too_slow():
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([sys.executable, "-S", "-c", "import time; time.sleep(60)"], timeout=0.3, check=True)


@pytest.mark.parametrize("number", range(5))
def test_quick(number):
    assert number >= 0
