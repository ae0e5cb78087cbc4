import time

import drawing
import pytest


@pytest.mark.parametrize("size", range(5))
def test_area_of_square(size):
    time.sleep(0.04)
    assert drawing.area("square", size) == size**2


@pytest.mark.parametrize("size", range(5))
def test_area_of_strip(size):
    time.sleep(0.04)
    assert drawing.area("strip", size) == size


def test_unknown_shape():
    with pytest.raises(drawing.DrawingError):
        drawing.area("cloud", 3)
