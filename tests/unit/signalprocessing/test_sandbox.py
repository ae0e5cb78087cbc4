"""What is refused before an engine sees it."""

import pytest

from kubernaut.signalprocessing.policy import sandbox
from kubernaut.signalprocessing.policy.errors import PolicyError


@pytest.mark.parametrize("name", sorted(sandbox.DENIED_BUILTINS))
def test_denied_builtin_is_rejected_with_line_and_column(name: str):
    with pytest.raises(PolicyError, match=f"policy.rego:3:13: {name} is not available") as caught:
        sandbox.check("policy.rego", f"package signalprocessing\n\nseverity := {name}(1)\n")

    assert (caught.value.line, caught.value.column) == (3, 13)


def test_deep_brackets_are_rejected_before_parsing():
    with pytest.raises(PolicyError, match=r"policy.rego:2:\d+: brackets nest deeper than 10"):
        sandbox.check("policy.rego", "package signalprocessing\nx := " + "[" * 30)


def test_brackets_and_names_in_strings_and_comments_do_not_count():
    text = 'package signalprocessing\n# http.send(((((((((((((\nx := "http.send [[[[[[[[[[[[" \ny := `((((((((((((`\n'

    sandbox.check("policy.rego", text)


def test_name_that_only_ends_like_a_denied_one_is_allowed():
    sandbox.check("policy.rego", "package signalprocessing\nx := data.my.http.sender\n")


def test_file_above_the_limit_is_rejected():
    with pytest.raises(PolicyError, match="larger than"):
        sandbox.check("policy.rego", "#" * (sandbox.MAX_BYTES + 1))


def test_a_byte_order_mark_is_named():
    with pytest.raises(PolicyError, match=r"policy\.rego:1:1: begins with a byte order mark"):
        sandbox.check("policy.rego", "\ufeffpackage signalprocessing\n")
