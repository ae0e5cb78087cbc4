"""The reference page of the integration suite, from its specs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))  # the inventory is test code

from support.suite import inventory
from support.suite.mutation_runs import MUTATIONS
from support.suite.requirements import REQUIREMENTS

GENERATED = "Written by `make fmt` from the specs; do not edit."


def mutations() -> str:
    """The page of the faults of the report, and as what the triage names each."""
    intro = (
        "`make test-mutations` brings each of these faults of the report back, one after the other.\n"
        "Each turns the suite red, and `muster triage` names the cause first and names no other, "
        "by the record of one run, without reruns.\n"
        "The test fails where the cause is another one, the confidence is less, or the line of evidence is not there; "
        "`…` stands for what differs from run to run.\n"
        "The seconds are those of one run with its triage on two cores that had other work (load 2 to 5); "
        "they are not checked."
    )
    rows = "\n".join(
        f"| {each.id} | {each.fault} | {each.cause} | {each.confidence:g} | {_code(each.evidence)} | {each.exit} "
        f"| {each.seconds} |"
        for each in MUTATIONS
    )
    head = "| | fault | first named | confidence | a line of its evidence | exit code | seconds |\n"
    variants = "\n".join(
        f"* {each.id} also with `SUITE_VARIANT={variant}`: exit code {code}"
        for each in MUTATIONS
        for variant, code in each.variants.items()
    )
    parts = ["# The faults of the report", GENERATED, intro, f"{head}|---|---|---|---|---|---|---|\n{rows}", variants]
    return "\n\n".join(parts) + "\n"


def _code(text: str) -> str:
    ticks = "``" if "`" in text else "`"
    space = " " if "`" in text else ""
    return f"{ticks}{space}{text.replace('|', chr(92) + '|')}{space}{ticks}"


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
    parts = ["# The integration suite of signal processing", GENERATED, intro]
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
