import time

import catalogue
import pytest


def test_titles_stay(books):
    for _ in range(20):
        assert catalogue.titles(books) == ["emma", "ulysses", "walden"]
        time.sleep(0.1)


@pytest.mark.parametrize("turn", range(6))
def test_three_books(books, turn):
    time.sleep(0.02)
    assert len(catalogue.titles(books)) == 3
