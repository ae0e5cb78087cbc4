import pytest
import tax


@pytest.mark.parametrize("number", range(3))
def test_number(number):
    assert f"{number:04}" == f"000{number}"


def test_gross():
    assert tax.gross(100) == 119
