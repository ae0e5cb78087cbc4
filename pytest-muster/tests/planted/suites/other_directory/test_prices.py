import market
import pytest


@pytest.mark.parametrize("price", range(6))
def test_positive(price):
    assert price >= 0


def test_price_of_apple():
    assert market.prices().get("apple") == "3"


def test_price_of_pear():
    assert market.prices().get("pear") == "5"
