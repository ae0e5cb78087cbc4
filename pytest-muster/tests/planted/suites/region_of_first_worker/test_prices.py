import time

import prices
import pytest


@pytest.mark.parametrize("net", range(100, 1000, 100))
def test_gross(net):
    time.sleep(0.04)
    assert prices.gross(net) == net * 1.19


def test_nothing_costs_nothing():
    assert prices.gross(0) == 0
