"""The pytest plugin. It names its version in the header of a run, and does nothing else yet."""

from importlib.metadata import version


def pytest_report_header() -> str:
    """One line in pytest's header, so that a log shows which version ran."""
    return f"muster: {version('pytest-muster')}"
