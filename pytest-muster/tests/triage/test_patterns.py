"""Patterns of a project: read, proved by their examples, and used as evidence only."""

import re

import pytest

from pytest_muster.triage import patterns
from pytest_muster.triage.findings import Cause

FULL = """
[[patterns]]
name = "pool-exhausted"
cause = "infrastructure gone"
text = "remaining connection slots"
kind = "OperationalError"
title = "the database has no connection left"
remedy = "Hold fewer connections."
matches = ["OperationalError: FATAL: remaining connection slots are reserved"]
spares = ["ValueError: remaining connection slots"]
"""


def test_a_pattern_of_the_project_is_read_and_proved(tmp_path):
    (tmp_path / patterns.FILE).write_text(FULL)

    [pattern] = patterns.load(tmp_path)

    assert pattern.cause is Cause.INFRASTRUCTURE_GONE
    assert list(patterns.faults([pattern])) == []
    assert (
        pattern.line(["OperationalError"], "one\nno remaining connection slots\ntwo") == "no remaining connection slots"
    )


def test_patterns_may_be_in_pyproject(tmp_path):
    (tmp_path / "pyproject.toml").write_text(FULL.replace("[[patterns]]", "[[tool.muster.patterns]]"))

    assert [pattern.name for pattern in patterns.load(tmp_path)] == ["pool-exhausted"]


def test_a_project_without_patterns_has_none(tmp_path):
    assert patterns.load(tmp_path) == ()


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ('cause = "infrastructure gone"', 'cause = "gremlins"', "gremlins"),
        ('title = "the database has no connection left"', "", "lacks title"),
        ('text = "remaining connection slots"', 'text = "("', "pool-exhausted"),
        ('remedy = "Hold fewer connections."', 'cure = ""', "unknown cure"),
        ("[[patterns]]", "[[patterns]", "muster_patterns.toml"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(tmp_path, was, becomes, said):
    (tmp_path / patterns.FILE).write_text(FULL.replace(was, becomes))

    with pytest.raises(patterns.PatternProblem, match=re.escape(said)):
        patterns.load(tmp_path)


def test_an_example_that_is_not_matched_or_not_spared_is_a_fault():
    wrong = patterns.Pattern(
        name="wrong", cause=Cause.DEFECT, title="", text=re.compile("a"), matches=("b",), spares=("a",)
    )

    assert len(list(patterns.faults([wrong]))) == 2


@pytest.mark.parametrize("pattern", patterns.BUILT_IN, ids=lambda pattern: pattern.name)
def test_a_built_in_pattern_matches_its_examples_and_no_example_of_another(pattern):
    others = [example for one in patterns.BUILT_IN if one is not pattern for example in one.matches]

    assert list(patterns.faults([pattern])) == []
    assert [example for example in others if pattern.line([], example)] == []
