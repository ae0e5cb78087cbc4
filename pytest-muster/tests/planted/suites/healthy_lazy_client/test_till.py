import time

import pytest
import till


@pytest.mark.parametrize("turn", range(6))
def test_apple(turn):
    time.sleep(0.02)
    assert till.price("apple") == 1


@pytest.mark.parametrize("turn", range(6))
def test_no_price(turn):
    with pytest.raises(KeyError):
        till.price("stone")
