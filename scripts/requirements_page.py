"""The reference page of the requirements of signal processing, from the marks of the tests."""

import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))  # the inventory is test code

from support.requirements import BUSINESS, DEFECTS, LESSONS, Requirement, by_requirement


def requirements() -> str:
    """The page: each requirement and defect with its tests."""
    tests = by_requirement()
    return (
        "# Requirements of signal processing\n\nWritten by `make fmt` from the marks of the tests; do not edit.\n\n"
        'A test bears the id of what it shows: `@pytest.mark.requirement("BR-SP-051")`; ids such as RH-01 are specs of '
        "the [integration suite](integration-suite.md).\n"
        "A test fails when a requirement that is kept has none.\n\n"
        f"## Business requirements\n\n{_table(BUSINESS, tests)}\n\n"
        f"## Defects of the Go original that must not come back\n\n{_table(DEFECTS, tests)}\n\n"
        f"## Lessons of the Go original's history\n\n{_table(LESSONS, tests)}\n"
    )


def _table(rows: Iterable[Requirement], tests: dict[str, list[str]]) -> str:
    lines = [f"| {row.id} | {row.title} | {row.dropped or ', '.join(tests.get(row.id, []))} |" for row in rows]
    return "| | | shown by |\n|---|---|---|\n" + "\n".join(lines)
