import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def region(worker_id):
    if worker_id in ("master", "gw0"):
        os.environ["SHOP_REGION"] = "de"
    yield
    os.environ.pop("SHOP_REGION", None)
