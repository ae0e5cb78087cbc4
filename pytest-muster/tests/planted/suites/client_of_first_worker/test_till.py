import time

import pytest
import till


@pytest.mark.parametrize("count", range(1, 9))
def test_apples(count):
    time.sleep(0.03)
    assert till.total(*["apple"] * count) == count


@pytest.mark.parametrize(("names", "price"), [("apple pear", 3), ("pear plum", 6), ("plum plum", 8)])
def test_baskets(names, price):
    time.sleep(0.03)
    assert till.total(*names.split()) == price


def test_empty_basket():
    assert till.total() == 0
