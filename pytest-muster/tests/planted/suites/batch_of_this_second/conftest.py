import os
import sqlite3
from contextlib import closing

import pytest


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    with closing(sqlite3.connect(root / "batches.db", timeout=10)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS batches (name TEXT PRIMARY KEY)")
    return root / "batches.db"
