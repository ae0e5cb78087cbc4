import time

import pytest


def test_stock_is_steady(depot):
    for _ in range(22):
        time.sleep(0.1)
        assert depot.stock("apple") == 7


@pytest.mark.parametrize("turn", range(6))
def test_pears(depot, turn):
    time.sleep(0.02)
    assert depot.stock("pear") == 5


def test_unknown_fruit(depot):
    assert depot.stock("stone") == 0
