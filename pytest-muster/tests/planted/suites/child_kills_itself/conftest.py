from contextlib import suppress

import pytest
from spelling import Speller


@pytest.fixture(scope="session")
def speller():
    speller = Speller()
    yield speller
    with suppress(OSError):
        speller.close()
