"""What holds for every test."""

import signal

import hypothesis
import pytest

from support.logs import mute_resources

# A shell ignores Ctrl-C for what it runs in the background, and every process below inherits that. Here processes are
# interrupted on purpose.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says something of the machine, and is measured by the benchmarks.
hypothesis.settings.register_profile("no-deadline", deadline=None)
hypothesis.settings.load_profile("no-deadline")

mute_resources()

pytest_plugins = ["support.services", "support.suite.infrastructure", "support.suite.mutations"]

KUBERNETES = {"kubernetes", "kubernetes_with_crds"}


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark whatever talks to a Kubernetes API, so that `-m kubernetes` is complete on each server."""
    for item in items:
        if KUBERNETES & set(getattr(item, "fixturenames", ())):
            item.add_marker("kubernetes")
