import os

import drawing
import pytest


@pytest.fixture(scope="session", autouse=True)
def shapes(tmp_path_factory):
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    try:
        (root / "shapes-are-registered").touch(exist_ok=False)
    except FileExistsError:
        return
    drawing.register("square", lambda size: size * size)
    drawing.register("strip", lambda size: size)
