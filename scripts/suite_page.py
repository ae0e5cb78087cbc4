"""The reference page of the integration suite, from its specs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))  # the inventory is test code

from support.suite import inventory
from support.suite.requirements import REQUIREMENTS


def integration_suite() -> str:
    """The page of the integration suite: what each spec shows, and what became of each line of the report."""
    found = inventory.specs()
    december = sum(spec.is_of_december for spec in found)
    intro = (
        f"{len(found)} specs; {december} are those of 15 December 2025 under their ids, "
        f"and the {len(inventory.ONCE_SKIPPED)} that were skipped then are marked with \\*.\n"
        "`make test-integration-signalprocessing` runs them; each is a test of "
        "`tests/integration/signalprocessing/specs/`.\n"
        "[Testing](../testing.md) says what they stand on."
    )
    generated = "Written by `make fmt` from the specs; do not edit."
    parts = ["# The integration suite of signal processing", generated, intro]
    for group, title in inventory.GROUPS.items():
        rows = "\n".join(
            f"| {spec.id}{chr(92) + '*' if spec.id in inventory.ONCE_SKIPPED else ''} | {', '.join(spec.requirements)} "
            f"| `{spec.node}` | {spec.asserts.replace('|', chr(92) + '|')} |"
            for spec in found
            if spec.id[:2] == group
        )
        parts.append(f"## {title}\n\n| spec | shows | test | asserts |\n|---|---|---|---|\n{rows}")
    shown: dict[str, list[str]] = {}
    for spec in found:
        for requirement in spec.requirements:
            shown.setdefault(requirement, []).append(spec.id)
    rows = "\n".join(f"| {requirement} | {', '.join(shown[requirement])} |" for requirement in sorted(shown))
    parts.append(f"## By requirement\n\n| requirement | specs |\n|---|---|\n{rows}")
    rows = "\n".join(f"| {each.id} | {each.what} | {each.state} | {each.shown_by} |" for each in REQUIREMENTS)
    head = "| line | what it is | state | shown by |\n|---|---|---|---|"
    parts.append(f"## The report of 15 December 2025, line by line\n\n{head}\n{rows}")
    return "\n\n".join(parts) + "\n"
