import market
import pytest


@pytest.mark.parametrize("text", ["a", "bc", "def"])
def test_length(text):
    assert len(text) < 4


def test_export_to_home():
    assert market.export("apple") == "5 bytes"
