"""What is refused before an engine sees it."""

import pytest

from kubernaut.signalprocessing.policy import sandbox
from kubernaut.signalprocessing.policy.errors import PolicyError


@pytest.mark.parametrize("name", sorted(sandbox.DENIED_BUILTINS))
def test_builtin_that_reaches_out_is_refused_with_its_place(name: str):
    with pytest.raises(PolicyError, match=f"policy.rego:3:13: {name} is not available") as caught:
        sandbox.check("policy.rego", f"package signalprocessing\n\nseverity := {name}(1)\n")

    assert (caught.value.line, caught.value.column) == (3, 13)


def test_deep_brackets_are_refused_before_any_parser_sees_them():
    with pytest.raises(PolicyError, match=r"policy.rego:2:\d+: brackets nest deeper than 10"):
        sandbox.check("policy.rego", "package signalprocessing\nx := " + "[" * 30)


def test_brackets_and_names_in_strings_and_comments_do_not_count():
    text = 'package signalprocessing\n# http.send(((((((((((((\nx := "http.send [[[[[[[[[[[[" \ny := `((((((((((((`\n'

    sandbox.check("policy.rego", text)


def test_name_that_only_ends_like_a_denied_one_is_allowed():
    sandbox.check("policy.rego", "package signalprocessing\nx := data.my.http.sender\n")


def test_huge_file_is_refused():
    with pytest.raises(PolicyError, match="larger than"):
        sandbox.check("policy.rego", "#" * (sandbox.MAX_BYTES + 1))
