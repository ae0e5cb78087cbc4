import time

import pytest
from cart import Cart


@pytest.mark.parametrize("count", range(1, 11))
def test_cart_holds(store, count):
    cart = Cart(store["url"], "cart")
    cart.clear()
    for _ in range(count):
        cart.add(1)
        time.sleep(0.02)
    held = cart.count()
    cart.clear()
    assert held == count


def test_other_cart(store):
    assert Cart(store["url"], "other").count() == 0
