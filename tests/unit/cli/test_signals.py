from datetime import UTC, datetime, timedelta

import pytest

from kubernaut.cli.signals import _age

NOW = datetime(2026, 11, 29, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (172_800, "2d"), (10**7, "115d")],
)
def test_an_age_is_shown_as_kubectl_does(seconds, shown):
    assert _age(NOW - timedelta(seconds=seconds), NOW) == shown


def test_no_age_is_no_text():
    assert _age(None, NOW) is None
