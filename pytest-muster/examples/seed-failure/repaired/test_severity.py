"""Pure code, which needs nothing."""

from signals import severity


def test_severity_is_normalised():
    assert severity("SEV1") == "critical"
