import time

import pytest
from names import who


@pytest.mark.parametrize("turn", range(16))
def test_answers(server, me, turn):
    time.sleep(0.05)
    assert who(server) == me
