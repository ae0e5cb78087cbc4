import time

import pytest
from cart import Cart


def test_broken_scale_is_noticed():
    Cart.weight = lambda self: -1
    assert Cart(4).weight() < 0


@pytest.mark.parametrize("weight", range(11, 27))
def test_sum_is_shipped(weight):
    time.sleep(0.03)
    assert Cart(weight).shipping() == 5
