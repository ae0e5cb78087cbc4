import pytest
import tax


@pytest.mark.parametrize("percent", range(0, 60, 10))
def test_discount(percent):
    assert 100 - percent >= 50


def test_day_without_tax():
    tax.RATE = 0
    assert tax.gross(50) == 50


@pytest.mark.parametrize("count", range(4))
def test_pieces(count):
    assert sum([1] * count) == count
