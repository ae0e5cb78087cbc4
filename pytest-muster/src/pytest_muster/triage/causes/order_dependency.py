"""A test passes only if certain other tests ran before it in its process."""

from collections.abc import Sequence

from pytest_muster.triage.findings import Cause, Evidence, Finding
from pytest_muster.triage.run_view import Failure


def found(failures: Sequence[Failure], setters: Sequence[str], *, reruns: int) -> Finding:
    """The test passed when one process ran all tests in their order, and failed alone; `setters` made it pass."""
    first = failures[0]
    earlier = " and ".join(setters) or "another test"
    evidence = [
        Evidence(
            text=f"{first.test} failed on {first.worker} with {first.error.kind or 'an error'}",
            at=first.at,
            worker=first.worker,
            test=first.test,
            source=first.source,
        ),
        Evidence(text="it failed again in the same way when it ran alone", test=first.test),
        Evidence(text="it passed when one process ran all tests in the order of their collection", test=first.test),
    ]
    evidence += [Evidence(text=f"it passed alone after {earlier}", test=setters[-1])] if setters else []
    return Finding(
        cause=Cause.ORDER_DEPENDENCY,
        title=f"{first.test} passes only if {earlier} ran before it in the same process",
        confidence=0.92 if setters else 0.75,
        tests=tuple(dict.fromkeys(failure.test for failure in failures)),
        evidence=tuple(evidence),
        remedy=f"Let {first.test} set up by itself, in a fixture, what it takes from {earlier}.",
        reruns=reruns,
    )
