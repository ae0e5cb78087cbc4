"""The triage of one run: what the record shows, then what reruns show, then one answer per failure.

A cause that the record alone shows is claimed without any rerun. Failures that are left are put together by their
looks, and one of each kind is tried again (see `interventions`). Without reruns such a failure is presumed to be a
defect, as long as no earlier test of its process was seen to leave anything behind.
"""

from collections.abc import Sequence

from pytest_muster.records.run_record import RunRecord
from pytest_muster.triage.causes import (
    address_family,
    clash,
    defect,
    early_teardown,
    infrastructure,
    not_ready,
    outside_tests,
    pollution,
    startup,
    timeout,
    uninitialised,
)
from pytest_muster.triage.findings import Triage
from pytest_muster.triage.interventions import Interventions
from pytest_muster.triage.patterns import Pattern, strengthen
from pytest_muster.triage.ranking import rank
from pytest_muster.triage.rerun import Rerun
from pytest_muster.triage.run_view import Failure, RunView

CAUSES = (
    uninitialised.claims,
    early_teardown.claims,
    early_teardown.removed,
    early_teardown.signalled,
    infrastructure.claims,
    address_family.claims,
    clash.claims,
    not_ready.claims,
    pollution.claims,
    timeout.claims,
    outside_tests.deadline,
    defect.crashes,
)
"""What needs no rerun to be claimed."""

SURE_ENOUGH = 0.8
"""A failure that is explained as surely as this is not tried again."""


def triage(record: RunRecord, *, rerun: Rerun | None = None, patterns: Sequence[Pattern] = ()) -> Triage:
    """What made the tests of a run fail, or the run where no test failed; one in which nothing did has no findings."""
    view = RunView(record)
    failed = tuple(dict.fromkeys(failure.test for failure in view.failures))
    if not failed:
        return Triage(run=record.id, findings=(*startup.claims(view, patterns), *outside_tests.claims(view)))
    claims = [claim for cause in CAUSES for claim in cause(view)]
    settled = {test for claim in claims if claim.confidence >= SURE_ENOUGH for test in claim.tests}
    for group in groups(view.failures):
        open_ones = [failure for failure in group if failure.test not in settled]
        if open_ones and rerun is not None:
            claims += Interventions(view, rerun, claims).explain(open_ones)
        elif open_ones and not pollution.was_left_changed(view, open_ones[0]):
            claims.append(defect.presumed(open_ones))
    findings, unexplained = rank(strengthen(claims, view, patterns), failed)
    return Triage(run=record.id, findings=findings, unexplained=unexplained)


def groups(failures: Sequence[Failure]) -> list[list[Failure]]:
    """Failures that look alike, those with the earliest first."""
    found: dict[tuple[object, ...], list[Failure]] = {}
    for failure in failures:
        found.setdefault(failure.key, []).append(failure)
    return list(found.values())
