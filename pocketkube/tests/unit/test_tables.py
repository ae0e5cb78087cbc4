"""JSON paths of printer columns, and how kubectl prints ages."""

import pytest

from pocketkube.http import tables


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.b", [1]),
        (".a['x.y']", [2]),
        (".a.x\\.y", [2]),
        (".l[1].n", ["q"]),
        (".l[*].n", ["p", "q"]),
        ('.l[?(@.n=="q")].v', [4]),
        (".nope.b", []),
        (".l[7].n", []),
        ("a.b", [1]),
        (".l[?(", []),
    ],
)
def test_json_paths(path, found):
    value = {"a": {"b": 1, "x.y": 2}, "l": [{"n": "p", "v": 3}, {"n": "q", "v": 4}]}

    assert tables.values_at(value, path) == found


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "5s"), (119, "119s"), (150, "2m30s"), (600, "10m"), (10_860, "3h1m"), (90_000, "25h"), (700_000, "8d")],
)
def test_long_durations_are_printed_with_less_precision(seconds, text):
    assert tables.duration(seconds) == text
