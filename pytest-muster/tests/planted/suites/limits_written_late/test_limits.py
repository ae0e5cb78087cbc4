import time

import limits
import pytest


@pytest.mark.parametrize("turn", range(22))
def test_limit(branch, turn):
    allowed = limits.allowed(branch, 200)
    time.sleep(0.1)
    assert allowed is True


def test_small_amounts_are_fine(branch):
    assert limits.allowed(branch, 20) is True
