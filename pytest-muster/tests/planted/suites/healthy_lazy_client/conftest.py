import pytest
import till


@pytest.fixture(scope="session", autouse=True)
def announce(worker_id):
    if worker_id in ("master", "gw0"):
        till.announced = "one worker says it for all"
