import pytest


@pytest.mark.parametrize("number", range(9))
def test_rounding(number):
    assert round(number + 0.4) == number
