import time

import pytest
from settings import Settings


@pytest.fixture(scope="module", autouse=True)
def loaded():
    Settings.load("de")


def test_language():
    time.sleep(0.4)
    assert Settings.language == "de"


def test_language_is_short():
    time.sleep(0.4)
    assert len(Settings.language) == 2
