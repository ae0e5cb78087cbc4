import time

import pytest


@pytest.mark.parametrize("number", range(12))
def test_delivery(broker, number):
    for turn in range(3):
        broker.publish("orders", f"order-{number}-{turn}")
        time.sleep(0.03)
    taken = [broker.take("orders") for _ in range(3)]
    assert taken == [f"order-{number}-{turn}" for turn in range(3)]


def test_empty_topic(broker):
    assert broker.take("nothing") is None
