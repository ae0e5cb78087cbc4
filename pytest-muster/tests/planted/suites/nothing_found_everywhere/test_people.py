import time

import people
import pytest


@pytest.mark.parametrize("name", ["Ada", "Bea", "Cleo", "Dora", "Eve", "Fay", "Gil", "Hal", "Ida"])
def test_plain(name):
    time.sleep(0.02)
    assert people.parse(name).initial == name[0]


@pytest.mark.parametrize("name", ["Éva", "Zoë", "Jörg", "Håkon", "Øyvind"])
def test_accent(name):
    time.sleep(0.02)
    assert people.parse(name).initial == name[0]
