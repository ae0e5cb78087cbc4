"""From what each cause claims to what a triage says: for each failure the surest explanation, and no more than one.

What happened to the module_state explains what individual tests saw of it, so of two claims that are equally sure the
one that comes first in `PRECEDENCE` wins, and then the one that explains more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pytest_muster.triage.findings import Cause, Finding

MIN_CONFIDENCE = 0.5
"""Below this confidence nothing is named."""

PRECEDENCE = (
    Cause.INFRASTRUCTURE_GONE,
    Cause.EARLY_TEARDOWN,
    Cause.UNINITIALISED,
    Cause.ADDRESS_FAMILY,
    Cause.PORT_CLASH,
    Cause.FILE_CLASH,
    Cause.NAME_CLASH,
    Cause.POLLUTION,
    Cause.ORDER_DEPENDENCY,
    Cause.NOT_READY,
    Cause.TIME_OUT,
    Cause.DEFECT,
)


def rank(claims: Iterable[Finding], failed: Sequence[str]) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """The findings, the surest explanation of the most failures first, and the tests that none of them explains."""
    sure = [claim for claim in claims if claim.confidence >= MIN_CONFIDENCE]
    known = set(failed)
    chosen: dict[int, list[str]] = {}
    for test in failed:
        fitting = [number for number, claim in enumerate(sure) if test in claim.tests]
        if fitting:
            chosen.setdefault(min(fitting, key=lambda number: _rank(sure[number])), []).append(test)
    findings = [replace(sure[number], tests=tuple(tests)) for number, tests in chosen.items()]
    # A claim about the run that no test failed of is still worth knowing, once tests did fail.
    findings += [claim for claim in sure if not claim.tests and known]
    explained = {test for finding in findings for test in finding.tests}
    findings.sort(key=lambda finding: -finding.confidence * len(finding.tests))
    return tuple(findings), tuple(test for test in failed if test not in explained)


def _rank(claim: Finding) -> tuple[float, int, int]:
    return (-round(claim.confidence, 2), PRECEDENCE.index(claim.cause), -len(claim.tests))
