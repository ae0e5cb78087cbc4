import shutil
from pathlib import Path

import pytest_muster as muster


@muster.shared
def shelf(muster_run):
    directory = Path(muster_run.directory) / "shelf"
    directory.mkdir()
    for title in ("emma", "ulysses", "walden"):
        (directory / f"{title}.txt").write_text(title)
    yield {"directory": str(directory)}


@muster.worker
def books(shelf):
    yield shelf["directory"]
    shutil.rmtree(shelf["directory"], ignore_errors=True)
