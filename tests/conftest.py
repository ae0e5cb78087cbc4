"""What holds for every test."""

import os

import hypothesis
import pytest

# How long an example takes says something of the machine, and is measured by the benchmarks.
hypothesis.settings.register_profile("no-deadline", deadline=None)
hypothesis.settings.load_profile("no-deadline")

pytest_plugins = ["support.services", "support.suite.infrastructure"]

KUBERNETES = {"kubernetes", "kubernetes_with_crds"}


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark whatever talks to a Kubernetes API, so that `-m kubernetes` is complete on each server."""
    for item in items:
        if KUBERNETES & set(getattr(item, "fixturenames", ())):
            item.add_marker("kubernetes")


def pytest_configure(config: pytest.Config) -> None:
    """Ignore the sockets that httpcore2 leaves open when a request is cancelled in its TLS handshake.

    `AnyIOStream.start_tls` closes its socket after an `Exception`, and `CancelledError` is none. Only real API servers
    speak TLS, so elsewhere an unclosed socket stays an error; other resources stay errors everywhere.
    """
    if os.environ.get("KUBEBUILDER_ASSETS"):
        config.addinivalue_line("filterwarnings", "ignore:unclosed transport <_SelectorSocketTransport:ResourceWarning")
        config.addinivalue_line("filterwarnings", "ignore:unclosed <socket.socket fd=.* raddr=:ResourceWarning")
