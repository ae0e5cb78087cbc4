import time

import bank
import pytest


@pytest.mark.parametrize("amount", range(20))
def test_booking(ledger, amount):
    time.sleep(0.03)
    assert bank.book(ledger["port"], amount) == "booked"
