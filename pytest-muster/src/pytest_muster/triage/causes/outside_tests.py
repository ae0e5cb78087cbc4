"""What made a run red although no test failed: a file that is not collected, a resource that died or did not end, a
limit of the whole run."""

from collections.abc import Iterator

from pytest_muster.records.run_record import CollectionFailure, ResourceEvent
from pytest_muster.triage.causes import outage
from pytest_muster.triage.findings import Cause, Evidence, Finding
from pytest_muster.triage.run_view import RunView

DEADLINE = "deadline"
"""The reason of a run that was stopped because its time was over."""
_MAX_LENGTH = 200  # characters of an error in a title


def claims(view: RunView) -> Iterator[Finding]:
    """For a run in which no test failed."""
    yield from _not_collected(view)
    yield from _died(view)
    yield from _not_torn_down(view)
    yield from deadline(view)


def deadline(view: RunView) -> Iterator[Finding]:
    """The tests that ran when the time of the whole run was over, or what else did."""
    end = view.record.end
    running = view.record.unfinished
    if end is None or end.stop_reason != DEADLINE:
        return
    if not running:
        yield _deadline_outside(view)
        return
    longest = min(running, key=lambda begun: begun.at)
    names = ", ".join(dict.fromkeys(begun.test for begun in running))
    yield Finding(
        cause=Cause.TIME_OUT,
        title=f"the time of the run was over while {names} ran",
        confidence=0.85,
        tests=(),
        evidence=tuple(
            Evidence(
                text=f"{begun.test} had run on {begun.worker} for {end.at - begun.at:.1f} s when the run ended",
                at=begun.at,
                worker=begun.worker,
                test=begun.test,
            )
            for begun in sorted(running, key=lambda begun: begun.at)
        ),
        remedy=f"Run {longest.test} alone with a limit of its own, to see where it waits; give the run more time "
        "(`--muster-deadline`) only if nothing hangs.",
    )


def _deadline_outside(view: RunView) -> Finding:
    """The time was over before the first test, or after the last."""
    pending: dict[tuple[str, str | None], ResourceEvent] = {}
    for event in view.record.resources:
        if event.event in {"starting", "stopping"}:
            pending[event.name, event.worker] = event
        elif event.event in {"ready", "failed", "stopped", "cancelled"}:
            pending.pop((event.name, event.worker), None)
    when = "after the last test had ended" if view.record.tests else "before the first test began"
    evidence = [Evidence(text=f"{len(view.passed)} tests had passed, and none was running")]
    evidence += [
        Evidence(text=f"{event.name} was still {event.event}", at=event.at, worker=event.worker)
        for event in pending.values()
    ]
    return Finding(
        cause=Cause.TIME_OUT,
        title=f"the time of the run was over {when}",
        confidence=0.85,
        tests=(),
        evidence=tuple(evidence),
        remedy="See what takes so long outside of the tests: the import of test files, a set-up, a teardown, or a "
        "machine that is busy; give the run more time (`--muster-deadline`) only if nothing hangs.",
    )


def _not_collected(view: RunView) -> Iterator[Finding]:
    by_node: dict[str, CollectionFailure] = {}
    for failure in view.record.collection_failures:  # each worker may tell of it
        by_node.setdefault(failure.node, failure)
    for node, failure in by_node.items():
        error = _error_of(failure.text)
        yield Finding(
            cause=Cause.DEFECT,
            title=f"{node} could not be collected: {error[:_MAX_LENGTH]}",
            confidence=0.9,
            tests=(),
            evidence=(Evidence(text=error, at=failure.at),),
            remedy=f"Repair {node}; `pytest --collect-only {node}` shows it again.",
        )


def _error_of(text: str) -> str:
    """The last line that pytest marks as that of the error; else the last one."""
    lines = [line for line in text.splitlines() if line.strip()]
    marked = [line[1:].strip() for line in lines if line.startswith("E ")]
    return next(iter([*marked[-1:], *lines[-1:]]), "no error was recorded")


def _died(view: RunView) -> Iterator[Finding]:
    for event in view.record.resources:
        if event.event != "died":
            continue
        evidence = [
            outage.resource_event(event),
            Evidence(text=f"all {len(view.passed)} tests passed, so none of them needed it afterwards"),
        ]
        kills = [
            one
            for one in view.record.activities
            if one.kind == "kill" and event.pid is not None and one.details.get("pid") == event.pid
        ]
        if not kills:
            yield Finding(
                cause=Cause.INFRASTRUCTURE_GONE,
                title=f"{event.name} died {view.elapsed(event.at)} after the first test; no test failed of it",
                confidence=0.85,
                tests=(),
                evidence=tuple(evidence),
                remedy=f"Find out in the log of {event.name} why it ended; the tests are not to blame.",
                resource=event.name,
            )
            continue
        first = kills[0]
        who = first.test if first.phase == "call" and first.test else first.worker
        killed = Evidence(
            text=f"{who} {outage.describe_action(first)}, which is {event.name}",
            at=first.at,
            worker=first.worker,
            test=first.test,
            source=first.source,
        )
        yield Finding(
            cause=Cause.EARLY_TEARDOWN,
            title=f"{who} ended {event.name}, which is of the whole run; no test failed of it this time",
            confidence=0.9,
            tests=(),
            evidence=(killed, *evidence),
            remedy=f"Let the controller alone end {event.name}, after the last worker (`@muster.shared`).",
            resource=event.name,
        )


def _not_torn_down(view: RunView) -> Iterator[Finding]:
    """A resource of several workers whose teardown failed alike is one finding."""
    failed: dict[tuple[str, str], list[ResourceEvent]] = {}
    for event in view.record.resources:
        if event.event == "stopped" and event.ok is False:
            failed.setdefault((event.name, _first_line(event)), []).append(event)
    for (name, error), events in failed.items():
        yield Finding(
            cause=Cause.DEFECT,
            title=f"the teardown of {name} failed: {error}",
            confidence=0.9,
            tests=(),
            evidence=tuple(Evidence(text=one.error or error, at=one.at, worker=one.worker) for one in events),
            remedy=f"Repair what stands after the `yield` of {name}; the tests are not to blame.",
            resource=name,
        )


def _first_line(event: ResourceEvent) -> str:
    return (event.error or "no error was recorded").partition("\n")[0][:_MAX_LENGTH]
