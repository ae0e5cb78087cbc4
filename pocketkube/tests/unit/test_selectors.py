"""Label and field selectors."""

import pytest

from pocketkube.operations import selectors


@pytest.mark.parametrize(
    ("text", "labels", "holds"),
    [
        ("n>3", {"n": "4"}, True),
        ("n<3", {"n": "4"}, False),
        ("n>3", {"n": "x"}, False),
        ("a notin (b)", {}, True),
        ("a!=b", {}, True),
        ("a=", {"a": ""}, True),
        ("a in (,b)", {"a": ""}, True),
    ],
)
def test_label_selector(text, labels, holds):
    assert all(requirement.holds(labels) for requirement in selectors.parse_labels(text)) is holds


def test_field_selector_can_escape():
    assert selectors.parse_fields("metadata.name=a\\,b,metadata.namespace!=c", ()) == (
        ("metadata.name", True, "a,b"),
        ("metadata.namespace", False, "c"),
    )
