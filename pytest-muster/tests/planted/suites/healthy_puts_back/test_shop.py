import os

import pytest
import shop


def test_no_tax(monkeypatch):
    monkeypatch.setattr(shop, "RATE", 0)
    assert shop.gross(100) == 100


def test_abroad(monkeypatch):
    monkeypatch.setenv("SHOP_CURRENCY", "CHF")
    assert shop.currency() == "CHF"


def test_elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert os.listdir() == []


def test_full_cart(monkeypatch):
    monkeypatch.setattr(shop.Cart, "count", lambda self: 3)
    assert shop.Cart().count() == 3


@pytest.mark.parametrize("net", range(100, 1000, 100))
def test_gross(net):
    assert shop.gross(net) == net * 1.19
    assert shop.currency() == "EUR"
    assert shop.Cart().count() == 0
