"""What holds for every test."""

import os

import pytest

pytest_plugins = ["support.services"]

KUBERNETES = {"kubernetes", "kubernetes_with_crds"}


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark whatever talks to a Kubernetes API, so that `-m kubernetes` is complete on each server."""
    for item in items:
        if KUBERNETES & set(getattr(item, "fixturenames", ())):
            item.add_marker("kubernetes")


def pytest_configure(config: pytest.Config) -> None:
    """A request that is cancelled in its TLS handshake leaves a socket to the garbage collector (httpcore2).

    Only real API servers speak TLS, so elsewhere an unclosed socket stays an error.
    """
    if os.environ.get("KUBEBUILDER_ASSETS"):
        config.addinivalue_line("filterwarnings", "ignore:unclosed:ResourceWarning")
        config.addinivalue_line("filterwarnings", "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
