"""What holds for every test."""

import pytest

pytest_plugins = ["support.services"]

KUBERNETES = {"kubernetes", "kubernetes_with_crds"}


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark whatever talks to a Kubernetes API, so that `-m kubernetes` is complete on each server."""
    for item in items:
        if KUBERNETES & set(getattr(item, "fixturenames", ())):
            item.add_marker("kubernetes")
