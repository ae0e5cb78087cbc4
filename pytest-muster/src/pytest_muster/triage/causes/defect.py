"""The tested code or the test itself is wrong: what remains when the module_state make no difference."""

from collections.abc import Iterator, Sequence

from pytest_muster.records.recorder import CRASH
from pytest_muster.triage.findings import Cause, Evidence, Finding
from pytest_muster.triage.run_view import Failure, RunView

REMEDY = "Run it alone and repair what its innermost line shows; neither the workers nor the order have a part in it."


def seen_alone(failures: Sequence[Failure], *, reruns: int, is_tried_in_order: bool) -> Finding:
    """The first of these failures happened again when its test ran alone."""
    first = failures[0]
    workers = sorted({failure.worker for failure in failures})
    evidence = [
        _failed(first),
        Evidence(text="it failed again at the same place when it ran alone in a process of its own", test=first.test),
        Evidence(text=f"it failed on {', '.join(workers)}"),
    ]
    if not is_tried_in_order:
        evidence.append(Evidence(text="whether it passes after all earlier tests in one process was not tried"))
    return Finding(
        cause=Cause.DEFECT,
        title=f"{first.error.kind or 'an error'} in {first.source or first.test}, whoever runs it",
        confidence=0.9 if is_tried_in_order else 0.7,
        tests=tuple(dict.fromkeys(failure.test for failure in failures)),
        evidence=tuple(evidence),
        remedy=REMEDY,
        reruns=reruns,
    )


def presumed(failures: Sequence[Failure]) -> Finding:
    """Nothing else explains these failures, and no rerun was made."""
    first = failures[0]
    return Finding(
        cause=Cause.DEFECT,
        title=f"{first.error.kind or 'an error'} in {first.source or first.test}",
        confidence=0.5,
        tests=tuple(dict.fromkeys(failure.test for failure in failures)),
        evidence=(_failed(first), Evidence(text="nothing else was found; no rerun was made to be sure")),
        remedy=REMEDY,
    )


def crashes(view: RunView) -> Iterator[Finding]:
    """Tests during which their worker ended, so that no line of them is known."""
    for failure in view.failures:
        if failure.error.kind != CRASH:
            continue
        others = [run for run in view.passed if run.start > failure.at]
        evidence = [_failed(failure), Evidence(text=f"it was the test that {failure.worker} ran when it ended")]
        evidence += [Evidence(text=f"{len(others)} tests passed after that, on other workers")] if others else []
        yield Finding(
            cause=Cause.DEFECT,
            title=f"{failure.test} ended its worker {failure.worker}",
            confidence=0.75,
            tests=(failure.test,),
            evidence=tuple(evidence),
            remedy="Run it alone: it ends its process, by an exit, a signal, or a fault in native code.",
        )


def _failed(failure: Failure) -> Evidence:
    message = failure.error.message.partition("\n")[0]
    return Evidence(
        text=f"{failure.error.kind}: {message}" if message else failure.error.kind,
        at=failure.at,
        worker=failure.worker,
        test=failure.test,
        source=failure.source,
    )
