import advice
import pytest


@pytest.mark.parametrize("turn", range(5))
def test_shallow(turn):
    assert advice.advise(0) == 0


@pytest.mark.parametrize("depth", [4, 5, 6])
def test_deep(depth):
    assert advice.advise(depth) == depth * 10
