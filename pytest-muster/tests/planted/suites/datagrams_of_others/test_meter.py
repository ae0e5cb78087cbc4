import time

import pytest
from meter import Meter, pulse


@pytest.mark.parametrize("turn", range(8))
def test_counts(turn):
    meter = Meter()
    for _ in range(50):
        pulse()
        time.sleep(0.005)
    count = meter.read()
    meter.close()
    assert count == 50


def test_counts_nothing_at_first():
    assert 2 * 0 == 0
