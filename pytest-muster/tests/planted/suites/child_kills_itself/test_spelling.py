import time

import pytest

CITIES = [
    "oslo",
    "rome",
    "bonn",
    "bern",
    "cork",
    "nice",
    "lyon",
    "york",
    "gent",
    "metz",
    "linz",
    "graz",
    "brno",
    "lodz",
]


@pytest.mark.parametrize("city", CITIES)
def test_city(speller, city):
    time.sleep(0.03)
    assert speller.correct(city) == city.title()
