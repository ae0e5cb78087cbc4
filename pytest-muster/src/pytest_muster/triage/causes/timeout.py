"""A limit was over before what the test waited for had come."""

from collections.abc import Iterator, Sequence

from pytest_muster.triage.findings import Cause, Evidence, Finding
from pytest_muster.triage.run_view import Failure, RunView

MIN_WAIT = 0.25  # seconds; who failed sooner has not waited for anything


def is_time_out(failure: Failure) -> bool:
    """Whether the error itself says so: by its class, or because pytest-timeout raised it."""
    error = failure.error
    named = any("timeout" in kind.lower() or kind.endswith("TimedOut") for kind in (error.kind, *error.kinds))
    return error.timed_out or named


def took(failure: Failure) -> float:
    """Seconds until it failed."""
    phase = failure.run.phases.get(failure.error.phase or "call")
    return phase.took if phase else failure.run.took


def claims(view: RunView) -> Iterator[Finding]:
    """Errors that are time-outs by their class."""
    found: dict[tuple[object, ...], list[Failure]] = {}
    for failure in view.failures:
        if is_time_out(failure):
            found.setdefault(failure.key, []).append(failure)
    for failures in found.values():
        # A limit for the whole test, rather than for something that it waited for.
        is_limit_of_test = failures[0].error.timed_out and failures[0].error.kind == "Failed"
        yield _finding(view, failures, [], confidence=0.9 if is_limit_of_test else 0.75, reruns=0)


def confirmed_by_scaling(
    view: RunView, failures: Sequence[Failure], *, factor: float, before: float, after: float, passed: bool, reruns: int
) -> Finding:
    """A rerun alone, in which every wait had several times as long."""
    again = "passed" if passed else "failed again, but"
    text = f"with limits {factor:g} times as long it {again} after {after:.2f} s rather than {before:.2f} s"
    return _finding(view, failures, [text], confidence=0.92 if passed else 0.85, reruns=reruns)


def _finding(
    view: RunView, failures: Sequence[Failure], shown: list[str], *, confidence: float, reruns: int
) -> Finding:
    first = failures[0]
    waiting = first.error.frames[-1] if first.error.frames else None
    code = f"`{waiting.code}`" if waiting and waiting.code else first.test
    evidence = [
        Evidence(
            text=f"{first.test} failed {took(first):.2f} s after its {first.error.phase or 'call'} began, in {code}",
            at=first.at,
            worker=first.worker,
            test=first.test,
            source=first.source,
        )
    ]
    evidence += [Evidence(text=text, test=first.test) for text in shown]
    others = sorted(run.took for run in view.passed)
    if others:
        evidence.append(Evidence(text=f"half of the tests that passed took {others[len(others) // 2]:.2f} s or less"))
    return Finding(
        cause=Cause.TIME_OUT,
        title=f"{first.test} timed out after {took(first):.2f} s in {first.source or code}",
        confidence=confidence,
        tests=tuple(dict.fromkeys(failure.test for failure in failures)),
        evidence=tuple(evidence),
        remedy="Find out why it takes so long; where it may, give it a longer limit, and let the error say what was "
        "waited for.",
        reruns=reruns,
    )
