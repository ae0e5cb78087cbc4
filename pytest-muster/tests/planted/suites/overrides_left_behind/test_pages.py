import pages
import pytest


@pytest.mark.parametrize("size", ["9", "10", "11", "12"])
def test_size(size):
    assert pages.read("size", size) == size


def test_colour_of_page():
    assert pages.read("colour", "white") == "white"
