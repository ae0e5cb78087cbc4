import os

import pytest
from songs import Library


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    library = Library(root / "songs.db")
    library.ask("CREATE TABLE IF NOT EXISTS songs (title TEXT PRIMARY KEY, singer TEXT)")
    for title, singer in [("Pata Pata", "Miriam"), ("Volver", "Carlos"), ("Naima", "John")]:
        library.ask("INSERT OR IGNORE INTO songs VALUES (?, ?)", title, singer)
    yield library
    library.ask("DROP TABLE IF EXISTS songs")
