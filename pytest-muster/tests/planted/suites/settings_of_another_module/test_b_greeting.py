import time

import pytest
from settings import greet


@pytest.mark.parametrize("name", ["Ada", "Bea", "Cleo", "Dora", "Eve", "Fay", "Gil", "Hal"])
def test_greeting(name):
    time.sleep(0.02)
    assert greet(name) == f"Hallo {name}"
