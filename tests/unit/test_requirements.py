"""Each requirement that is kept, and each defect and lesson, has a test that bears its id."""

import pytest

from support.requirements import BUSINESS, DEFECTS, LESSONS, Requirement, by_requirement


@pytest.mark.parametrize("requirement", [*BUSINESS, *DEFECTS, *LESSONS], ids=lambda each: each.id)
def test_requirement_has_a_test_of_its_own_unless_it_was_dropped(requirement: Requirement):
    marked = [test for test in by_requirement().get(requirement.id, []) if "::" in test]

    assert bool(marked) is not bool(requirement.dropped)


def test_every_marked_id_is_a_requirement():
    known = {requirement.id for requirement in (*BUSINESS, *DEFECTS, *LESSONS)}
    marked = {id for id, tests in by_requirement().items() if any("::" in test for test in tests)}

    assert marked <= known
