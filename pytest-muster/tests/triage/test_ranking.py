"""Each failure gets its surest explanation, and what is not sure gets none."""

from hypothesis import given
from hypothesis import strategies as st

from pytest_muster.triage.findings import Cause, Finding
from pytest_muster.triage.ranking import MIN_CONFIDENCE, rank

TESTS = [f"test_{number}" for number in range(8)]


def a_claim(cause=Cause.DEFECT, confidence=0.9, tests=("test_0",)):
    return Finding(cause=cause, title="", confidence=confidence, tests=tuple(tests), evidence=(), remedy="")


claims = st.lists(
    st.builds(
        a_claim,
        cause=st.sampled_from(Cause),
        confidence=st.floats(0, 1),
        tests=st.lists(st.sampled_from(TESTS), min_size=1, unique=True),
    ),
    max_size=8,
)


@given(claims, st.lists(st.sampled_from(TESTS), unique=True))
def test_each_failure_is_explained_once_or_not_at_all(made, failed):
    findings, unexplained = rank(made, failed)

    explained = [test for finding in findings for test in finding.tests]
    assert sorted([*explained, *unexplained]) == sorted(failed)


@given(claims, st.lists(st.sampled_from(TESTS), unique=True))
def test_nothing_is_named_that_is_not_sure(made, failed):
    findings, unexplained = rank(made, failed)

    assert all(finding.confidence >= MIN_CONFIDENCE and finding.tests for finding in findings)
    assert not [
        test for test in unexplained if any(test in one.tests and one.confidence >= MIN_CONFIDENCE for one in made)
    ]


@given(claims, st.lists(st.sampled_from(TESTS), unique=True))
def test_the_surest_explanation_of_the_most_failures_comes_first(made, failed):
    findings, _ = rank(made, failed)

    weights = [finding.confidence * len(finding.tests) for finding in findings]
    assert weights == sorted(weights, reverse=True)


def test_a_cause_comes_before_its_consequences_when_both_are_equally_sure():
    gone = a_claim(Cause.INFRASTRUCTURE_GONE, tests=("test_0", "test_1"))
    late = a_claim(Cause.TIME_OUT, tests=("test_1",))

    findings, unexplained = rank([late, gone], ["test_0", "test_1"])

    assert [finding.cause for finding in findings] == [Cause.INFRASTRUCTURE_GONE]
    assert unexplained == ()


def test_a_run_without_failures_has_no_findings():
    assert rank([a_claim()], []) == ((), ())
