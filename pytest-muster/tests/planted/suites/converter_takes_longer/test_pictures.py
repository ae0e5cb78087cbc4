import pictures
import pytest


@pytest.mark.parametrize("turn", range(4))
def test_small(turn):
    assert pictures.convert("small") == "done"


@pytest.mark.parametrize("turn", range(3))
def test_large(turn):
    assert pictures.convert("large") == "done"
