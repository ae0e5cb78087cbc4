"""Hooks that a conftest.py or another plugin may implement. They are called where the run is owned: in the controller
of pytest-xdist, or in the only process."""

from typing import Any

import pytest


def pytest_muster_shared_ready(config: pytest.Config, values: dict[str, Any]) -> None:
    """Every shared resource that the run needs is up, and no test has begun.

    `values` holds what they published, by name. For things such as showing an address, or warming a cache up.
    An error here ends the run before its first test.
    """


def pytest_muster_shared_stopped(config: pytest.Config, errors: list[str]) -> None:
    """Every shared resource is torn down, after the last worker was gone; also when the run ended badly.

    `errors` says what went wrong with them during the run. For things such as keeping logs.
    """
