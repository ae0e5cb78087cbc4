"""The inventory of the integration suite is complete, and every id stands once."""

import re
from collections import Counter

from support.suite import inventory
from support.suite.requirements import REQUIREMENTS

SPECS = inventory.specs()


def test_the_76_specs_of_december_are_there_once_each():
    ids = Counter(spec.id for spec in SPECS)

    assert {id for id, count in ids.items() if count > 1} == set()
    assert {spec.id for spec in SPECS if spec.is_of_december} == inventory.expected_of_december()
    assert len(inventory.expected_of_december()) == 76
    assert len(inventory.ONCE_SKIPPED) == 14


def test_no_spec_skips_itself():
    for file in inventory.SPECS.glob("*.py"):
        assert not re.search(r"pytest\.skip|mark\.skip|mark\.xfail|pending", file.read_text()), file.name


def test_numbers_of_each_group_run_from_one():
    groups = Counter(spec.id[:2] for spec in SPECS)

    assert {spec.id for spec in SPECS} == {f"{group}-{n:02}" for group in groups for n in range(1, groups[group] + 1)}


def test_every_requirement_of_the_report_is_answered_once():
    ids = [requirement.id for requirement in REQUIREMENTS]

    assert len(ids) == len(set(ids)) == 55
    assert all(re.fullmatch(r"SR-\d\d", id) for id in ids)


def test_four_workers_are_the_default_and_nothing_runs_the_specs_on_one():
    root = inventory.SPECS.parents[3]
    makefile, pipeline = ((root / name).read_text() for name in ("Makefile", ".ci/run"))

    assert "PROCS ?= 4" in makefile
    assert not re.search(r"signalprocessing[^\n]*(PROCS=[01]\b|-n [01]\b)", makefile + pipeline)
