"""The tested code or the test itself is wrong: what remains when the module_state make no difference."""

import signal
from collections.abc import Iterator, Sequence

from pytest_muster.records.recorder import CRASH
from pytest_muster.records.run_record import WorkerEvent
from pytest_muster.triage.causes.outage import looks_gone
from pytest_muster.triage.findings import Cause, Evidence, Finding
from pytest_muster.triage.run_view import Failure, RunView, error_target

NO_PART = "Neither the workers nor the order have a part in it."
REMEDY = f"Run it alone and repair what its innermost line shows. {NO_PART}"


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
    remedy, answer = REMEDY, ""
    if looks_gone(first) and (target := error_target(first.error)) and not target.is_file:
        answer = f", where nothing answers at {target.name}"
        remedy = f"Start what is to answer at {target.name}, or correct the address. {NO_PART}"
    return Finding(
        cause=Cause.DEFECT,
        title=f"{first.error.kind or 'an error'} in {first.source or first.test}{answer}, whoever runs it",
        confidence=0.9 if is_tried_in_order else 0.7,
        tests=tuple(dict.fromkeys(failure.test for failure in failures)),
        evidence=tuple(evidence),
        remedy=remedy,
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
        evidence=(
            _failed(first),
            Evidence(text="nothing else was seen that could have made it, and no rerun was made to be sure"),
        ),
        remedy="Run it alone. If it fails again, repair what its innermost line shows; if it passes, other tests or "
        "workers have a part in it, and a triage with reruns says which.",
    )


def crashes(view: RunView) -> Iterator[Finding]:
    """Tests during which their worker ended, so that no line of them is known."""
    for failure in view.failures:
        if failure.error.kind != CRASH:
            continue
        ends = [event for event in view.record.workers if event.worker == failure.worker and event.event == "crashed"]
        end = ends[-1] if ends else WorkerEvent(worker=failure.worker, event="crashed", at=failure.at)
        others = [run for run in view.passed if run.start > failure.at]
        evidence = [_failed(failure), Evidence(text=f"it was the test that {failure.worker} ran when it ended")]
        evidence += [Evidence(text=f"{len(others)} tests passed after that, on other workers")] if others else []
        if end.signal in _FROM_OUTSIDE and not _is_sent(view, end):
            yield _killed(failure, end, evidence)
            continue
        how = f", by signal {end.signal}" if end.signal else f", with status {end.status}" if end.status else ""
        yield Finding(
            cause=Cause.DEFECT,
            title=f"{failure.test} ended its worker {failure.worker}{how}",
            confidence=0.75,
            tests=(failure.test,),
            evidence=tuple(evidence),
            remedy="Run it alone: it ends its process, by an exit, a signal, or a fault in native code.",
        )


_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM}
"""Signals that no fault of the process itself makes."""


def _is_sent(view: RunView, end: WorkerEvent) -> bool:
    """Whether anything in the run was seen sending the signal."""
    return any(
        activity.kind == "kill"
        and (activity.details.get("pid"), activity.details.get("signal")) == (end.pid, end.signal)
        for activity in view.record.activities
    )


def _killed(failure: Failure, end: WorkerEvent, evidence: Sequence[Evidence]) -> Finding:
    seen = Evidence(text=f"signal {end.signal} ended process {end.pid}, and nothing in the run was seen to send it")
    return Finding(
        cause=Cause.INFRASTRUCTURE_GONE,
        title=f"{failure.worker} was killed by signal {end.signal} while it ran {failure.test}",
        confidence=0.75,
        tests=(failure.test,),
        evidence=(*evidence, seen),
        remedy="Find out who killed it: the kernel when memory ran out (its log says so), the limits of a container, "
        "or what supervises the run. If it is always the same test, see how much memory that needs.",
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
