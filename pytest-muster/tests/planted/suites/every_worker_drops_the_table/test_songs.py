import time

import pytest


def test_singers_stay(library):
    for _ in range(20):
        assert library.by("Miriam") == ["Pata Pata"]
        time.sleep(0.1)


@pytest.mark.parametrize("turn", range(5))
def test_carlos(library, turn):
    time.sleep(0.02)
    assert library.by("Carlos") == ["Volver"]


@pytest.mark.parametrize("turn", range(4))
def test_john(library, turn):
    time.sleep(0.02)
    assert library.by("John") == ["Naima"]
