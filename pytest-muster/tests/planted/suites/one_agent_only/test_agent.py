import time

import pytest
from agent import Agent


@pytest.mark.parametrize("turn", range(8))
def test_starts(turn):
    agent = Agent()
    started = agent.start()
    time.sleep(0.1)
    agent.stop()
    assert started is True


def test_is_idle_at_first():
    assert Agent().running is False
