"""Something that tests used went away, and no test or worker took it down."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pytest_muster.records.journal import Outcome
from pytest_muster.records.run_record import Activity, ResourceEvent, TestRun
from pytest_muster.triage.causes import early_teardown, outage
from pytest_muster.triage.causes.outage import Outage
from pytest_muster.triage.causes.timeout import is_time_out
from pytest_muster.triage.findings import Cause, Evidence, Finding
from pytest_muster.triage.run_view import Failure, RunView

NOTICE_DELAY = 0.2  # seconds between the end of a test and the notice of what ended during it
MAX_DELAY = 5.0  # seconds between the notice that a resource is gone and a failure before it


def claims(view: RunView) -> Iterator[Finding]:
    """Something that tests used went away, and no worker did it."""
    yield from _events(view)
    yield from _children(view)
    if view.resource_outages:
        return
    for lost in outage.outages(view):
        enough = len({failure.test for failure in lost.failures}) >= 2
        if lost.target.is_file or not enough or not any(map(outage.looks_gone, lost.failures)):
            continue
        if view.is_parallel and any(
            early_teardown.is_teardown(view, action)
            and early_teardown.may_concern(view, action, lost.target)
            and early_teardown.outage_at(view, action, lost.target)
            for action in view.record.activities
        ):
            continue
        yield _gone(view, lost)


def _gone(view: RunView, lost: Outage) -> Finding:
    shown = view.display_name(lost.target)
    return Finding(
        cause=Cause.INFRASTRUCTURE_GONE,
        title=f"{shown} was unreachable from {view.elapsed(lost.first_failure)} after the first test on",
        confidence=0.75,
        tests=tuple(dict.fromkeys(failure.test for failure in lost.failures)),
        evidence=(
            outage.used_before(view, lost),
            outage.failed_uses(view, lost, lost.failures),
            Evidence(text="no worker was seen to stop it"),
        ),
        remedy=f"Find out in the log of what listens at {shown} why it ended, and let pytest-muster start and watch it "
        "(`@muster.shared`).",
        resource=shown,
    )


def _events(view: RunView) -> Iterator[Finding]:
    for name in dict.fromkeys(event.name for event in view.resource_outages):
        event = _beginning(view, name)
        ended, hangs = event.event == "died", _hangs(view, event)
        failures = [
            one
            for one in view.failures
            if one.at >= event.at - MAX_DELAY and (ended or outage.looks_gone(one) or (hangs and is_time_out(one)))
        ]
        if not failures:
            continue
        good = [run for run in view.passed if run.stop <= event.at]
        if killers := _killers(view, event):
            lost = [one for one in failures if outage.looks_gone(one) or one.run.outcome is Outcome.INFRASTRUCTURE]
            yield _killed(view, event, killers, lost or failures)
            continue
        evidence = [outage.resource_event(event)]
        evidence += [Evidence(text=f"{len(good)} tests had passed until then")] if good else []
        evidence.append(Evidence(text=f"{len(failures)} tests failed from then on", test=failures[0].test))
        alike = sum(outage.looks_gone(one) or (hangs and is_time_out(one)) for one in failures) / len(failures)
        remedy = f"Find out in the log of {name} why it ended; the tests are not to blame."
        if not ended:
            remedy = f"Find out why {name} no longer answers although it lives; the tests are not to blame."
        yield Finding(
            cause=Cause.INFRASTRUCTURE_GONE,
            title=f"{name} {'died' if ended else 'no longer answered'} {view.elapsed(event.at)} after the first test",
            confidence=0.75 + 0.1 * (ended or hangs) + 0.1 * alike,
            tests=tuple(dict.fromkeys(failure.test for failure in failures)),
            evidence=tuple(evidence),
            remedy=remedy,
            resource=name,
        )


def _beginning(view: RunView, name: str) -> ResourceEvent:
    """When a resource went away for good; a probe that failed between two that did not is the last choice."""
    outages = [event for event in view.resource_outages if event.name == name]
    answers = [
        event.at for event in view.record.resources if event.name == name and event.event == "probe" and event.ok
    ]
    lasting = [event for event in outages if event.event == "died" or event.at > max(answers, default=0.0)]
    return (lasting or outages)[0]


def _hangs(view: RunView, first: ResourceEvent) -> bool:
    """Whether the resource lived and answered nobody from a failed probe on, rather than late and once."""
    later = [
        event
        for event in view.record.resources
        if event.name == first.name and event.event == "probe" and event.at >= first.at
    ]
    failed = [event for event in later if event.ok is False]
    return first.event == "probe" and len(failed) == len(later) and (bool(first.suspended) or len(failed) >= 2)


def _killers(view: RunView, event: ResourceEvent) -> list[Activity]:
    """Which workers sent a signal to the process of a shared resource, outside of the bodies of tests."""
    return [
        activity
        for activity in view.record.activities
        if activity.kind == "kill"
        and event.pid is not None
        and activity.details.get("pid") == event.pid
        and activity.phase != "call"
        and view.is_parallel
    ]


def _killed(view: RunView, event: ResourceEvent, killers: Sequence[Activity], failures: Sequence[Failure]) -> Finding:
    first = killers[0]
    others = sorted({killer.worker for killer in killers[1:]} - {first.worker})
    evidence = [
        Evidence(
            text=f"{first.worker} {outage.describe_action(first)}, which is {event.name}, at its end",
            at=first.at,
            worker=first.worker,
            test=first.test,
            source=first.source,
        ),
        outage.resource_event(event),
        outage.failures_since(view, failures),
        outage.still_running(view, first),
    ]
    if others:
        evidence.append(Evidence(text=f"{', '.join(others)} did so too, later: each worker tears it down"))
    return Finding(
        cause=Cause.EARLY_TEARDOWN,
        title=f"{first.worker} ended {event.name} while other workers still had tests to run",
        confidence=0.92,
        tests=tuple(dict.fromkeys(failure.test for failure in failures)),
        evidence=tuple(evidence),
        remedy=f"Let the controller alone end {event.name}, after the last worker (`@muster.shared`), and take the "
        f"teardown out of {first.source or 'the fixture'}.",
        resource=event.name,
    )


def _children(view: RunView) -> Iterator[Finding]:
    """A process that a worker, or all of them, had: it ended between the last test that passed and a failure."""
    claims: dict[tuple[object, ...], Finding] = {}
    for activity in view.record.activities:
        if activity.kind != "child_exit" or _was_killed(view, activity) or _is_its_own(view, activity):
            continue
        mine = _having(view, activity)
        before = [run for run in mine if run.stop <= activity.at]
        # It was noticed after the first test that failed of it, or after the one before.
        theirs = {id(run) for run in mine}
        failures = [
            one for one in view.failures if id(one.run) in theirs and one.run.stop >= activity.at - NOTICE_DELAY
        ]
        earlier = [one for one in view.failures if id(one.run) in theirs and one.run.stop < activity.at - NOTICE_DELAY]
        after = [run for run in mine if run.start > activity.at and run.outcome is Outcome.PASSED]
        if failures and not earlier and before and len(after) <= len(failures):
            claim = _ended(view, activity, failures, passed=len(before))
            # Alike processes of several workers that ended alike are one finding.
            how = tuple(activity.details.get(key) for key in ("name", "signal", "status"))
            claims[how] = _merged(claims[how], claim) if how in claims else claim
    yield from claims.values()


def _having(view: RunView, child: Activity) -> list[TestRun]:
    """The tests of the worker whose child it was, and of others who talked to where those that failed did."""
    if child.worker not in view.workers:
        return list(view.record.tests)
    of_child = [one for one in view.failures if one.worker == child.worker and one.at >= child.at - NOTICE_DELAY]
    places = {target for one in of_child for target in view.targets_of(one) if not target.is_file}
    return [
        run
        for run in view.record.tests
        if run.worker == child.worker or any(access.target in places for access in view.accesses_of(run))
    ]


def _merged(one: Finding, other: Finding) -> Finding:
    return replace(one, tests=(*one.tests, *other.tests), evidence=(*one.evidence, *other.evidence))


def _is_its_own(view: RunView, child: Activity) -> bool:
    """Whether the test in which the child ended may have started it."""
    started = [
        activity for activity in view.record.activities if activity.kind == "spawn" and activity.worker == child.worker
    ]
    return bool(started) and all(activity.test == child.test and activity.phase == "call" for activity in started)


def _was_killed(view: RunView, child: Activity) -> bool:
    return any(
        activity.kind == "kill" and activity.details.get("pid") == child.details.get("pid")
        for activity in view.record.activities
    )


def _ended(view: RunView, activity: Activity, failures: Sequence[Failure], *, passed: int) -> Finding:
    signal, status, name = (activity.details.get(key) for key in ("signal", "status", "name"))
    how = f"was killed by signal {signal}" if signal is not None else f"exited with {status}"
    what = f"the process {name or ''} ({activity.details.get('pid')})".replace("  ", " ")
    started = [other for other in view.record.activities if other.kind == "spawn" and other.worker == activity.worker]
    evidence = [
        Evidence(
            text=f"{what}, a child of {activity.worker}, {how}; no test did it", at=activity.at, worker=activity.worker
        ),
        Evidence(text=f"{passed} tests had passed until then"),
        outage.failures_since(view, failures),
    ]
    evidence += [
        Evidence(
            text=f"{one.worker} had started `{' '.join(map(str, one.details.get('argv', ())))}`",
            at=one.at,
            worker=one.worker,
            test=one.test,
            source=one.source,
        )
        for one in started[:1]
    ]
    return Finding(
        cause=Cause.INFRASTRUCTURE_GONE,
        title=f"{what} {how} {view.elapsed(activity.at)} after the first test began",
        confidence=0.88 if signal is not None or status else 0.7,
        tests=tuple(dict.fromkeys(failure.test for failure in failures)),
        evidence=tuple(evidence),
        remedy=f"Find out why {name or 'it'} {how}, for instance in its log; the tests are not to blame.",
        resource=str(name) if name else None,
    )
