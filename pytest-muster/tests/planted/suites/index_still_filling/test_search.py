import time

import pytest

FOUND = {"plum": ["plum jam", "plum cake"], "apple": ["apple tart"], "jam": ["plum jam"], "tart": ["apple tart"]}


@pytest.mark.parametrize("turn", range(3))
@pytest.mark.parametrize("word", FOUND)
def test_find(index, word, turn):
    found = index.find(word)
    time.sleep(0.1)  # the page is drawn
    assert found == FOUND[word]


def test_find_nothing(index):
    assert index.find("stone") == []
