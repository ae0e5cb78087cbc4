import time

import pytest
from lamp import Lamp


@pytest.mark.parametrize("turn", range(9))
def test_glows(turn):
    lamp = Lamp()
    lamp.switch_on()
    time.sleep(0.15)
    colour = lamp.colour
    lamp.switch_off()
    assert colour == "green"


def test_is_grey_at_first():
    assert Lamp().colour == "grey"
