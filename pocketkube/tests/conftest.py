"""What holds for every test of pocketkube."""

import os

import pytest


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the conformance suite, which runs against real API servers too."""
    for item in items:
        if item.path.parent.name == "conformance":
            item.add_marker("kubernetes")


def pytest_configure(config: pytest.Config) -> None:
    """A request that is cancelled in its TLS handshake leaves a socket to the garbage collector (httpcore2).

    Only real API servers speak TLS, so elsewhere an unclosed socket stays an error.
    """
    if os.environ.get("KUBEBUILDER_ASSETS"):
        config.addinivalue_line("filterwarnings", "ignore:unclosed:ResourceWarning")
        # muster: ignore[M603] that one socket, where TLS is spoken
        config.addinivalue_line("filterwarnings", "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
