import os

import pytest


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    return root / "imports.db"
