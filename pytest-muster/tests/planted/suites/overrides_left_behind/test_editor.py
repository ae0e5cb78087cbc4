import pages
import pytest


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_default(name):
    assert pages.read(name, "x") == "x"


def test_save():
    pages.save("colour", "red")
    assert pages.read("colour", "") == "red"
