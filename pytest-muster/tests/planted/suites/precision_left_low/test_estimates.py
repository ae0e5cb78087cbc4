import pytest
from measures import estimate, length


@pytest.mark.parametrize("metres", ["1", "2", "3"])
def test_short(metres):
    assert str(length(metres)) == metres


def test_rough_estimate():
    assert str(estimate("3.14", "2.71")) == "5.8"
