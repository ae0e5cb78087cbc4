import pytest
import wallet


@pytest.mark.parametrize("amount", range(4))
def test_amount(amount):
    assert wallet.label(amount).startswith(str(amount))


def test_travel_abroad():
    assert wallet.travel("ch") == "10 CHF"


@pytest.mark.parametrize("amount", range(4, 8))
def test_more(amount):
    assert len(wallet.label(amount)) == 5


def test_label():
    assert wallet.label(3) == "3 EUR"


def test_receipt():
    assert wallet.label(8) + "!" == "8 EUR!"
