import time

import pytest
import weather


@pytest.mark.parametrize("turn", range(24))
def test_degrees(station, turn):
    try:
        assert weather.degrees(station, "Oslo") == 4
    finally:
        time.sleep(0.1)
