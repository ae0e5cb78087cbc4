import time

import gateway as bank
import pytest


@pytest.mark.parametrize("amount", range(1, 25))
def test_charge(gateway, amount):
    try:
        assert bank.charge(gateway["port"], amount) == 2 * amount
    finally:
        time.sleep(0.1)
