from datetime import UTC, datetime

import pytest

from kubernaut.audit.errors import retry_after

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        ("0", 1),
        ("-3", 1),
        ("-inf", 1),
        ("1e22", 300),
        ("inf", 300),
        ("9" * 400, 300),
        ("301", 300),
        ("nan", None),
        ("", None),
        ("soon", None),
        ("Sun, 29 Nov 2026 12:00:42 GMT", 42),
        ("Sun, 29 Nov 2026 11:00:00 GMT", 1),
        ("Sun, 29 Nov 2026 23:00:00 GMT", 300),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300),
        ("Mon, 01 Jan 0001 00:00:00 GMT", 1),
        ("Sun, 29 Nov 2026 12:00:42 -0000", 42),
        ("Sun, 99 Nov 2026 12:00:42 GMT", None),
    ],
)
def test_retry_after_is_read_within_bounds(text, seconds):
    assert retry_after(text, NOW) == seconds
