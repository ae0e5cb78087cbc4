import time

import atlas
import pytest


@pytest.mark.parametrize("place", [f"place-{number}" for number in range(26)])
def test_tiles(atlas_port, place):
    time.sleep(0.1)
    assert atlas.tiles(atlas_port, place) == 16
