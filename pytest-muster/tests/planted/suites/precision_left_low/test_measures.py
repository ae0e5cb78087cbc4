import pytest
from measures import length


@pytest.mark.parametrize("metres", ["1.5", "2.5", "3.5", "4.5", "5.5"])
def test_one_part(metres):
    assert str(length(metres)) == metres


def test_length_of_wall():
    assert str(length("10.25", "4.50")) == "14.75"
