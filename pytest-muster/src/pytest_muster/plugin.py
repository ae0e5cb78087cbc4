"""The pytest plugin: registers what `pytest --muster-version` reports, and nothing else yet."""

from importlib.metadata import version

import pytest


def pytest_report_header(config: pytest.Config) -> str:
    """One line in pytest's header, so that a log shows which version ran."""
    return f"muster: {version('pytest-muster')}"
