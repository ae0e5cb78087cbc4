"""A worker that was done took down what the tests of other workers still used."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import PurePath

from pytest_muster.records.journal import Outcome
from pytest_muster.records.run_record import Activity
from pytest_muster.triage.causes import outage
from pytest_muster.triage.causes.outage import Outage
from pytest_muster.triage.findings import Cause, Evidence, Finding
from pytest_muster.triage.run_view import Failure, RunView, Target, failure_of

_STRONG = {"kill", "remove", "rename", "spawn"}
"""What ends something. It counts in the teardown of any test."""
_WEAK = {"connect", "write", "sqlite"}
"""What may end something. It counts at the end of a worker only."""
MAX_DELAY = 5.0  # seconds between what a worker did and the first failure that it can have caused


def claims(view: RunView) -> Iterator[Finding]:
    """A worker that was done took away what others still used."""
    if not view.is_parallel:
        return
    found: dict[int, Finding] = {}
    for target in dict.fromkeys(target for failure in view.failures for target in view.targets_of(failure)):
        actions = [
            action
            for action in view.record.activities
            if is_teardown(view, action) and may_concern(view, action, target)
        ]
        matching = [(action, lost) for action in actions if (lost := outage_at(view, action, target)) is not None]
        if matching:
            # The most telling action, and of those the first.
            action, lost = max(matching, key=lambda one: (_weight(view, one[0]), -one[0].at))
            claim = _torn_down(view, lost, action)
            known = found.get(id(action))
            if known is None or len(known.tests) < len(claim.tests):
                found[id(action)] = claim
    yield from found.values()


def _torn_down(view: RunView, lost: Outage, action: Activity) -> Finding:
    shown = view.display_name(lost.target)
    failures = lost.failures
    same = [
        activity
        for activity in view.record.activities
        if activity.kind == action.kind and activity.source == action.source and activity.worker != action.worker
    ]
    evidence = [
        Evidence(
            text=f"{action.worker} {outage.describe_action(action)} at its end, "
            f"{view.elapsed(action.at)} after the first test began",
            at=action.at,
            worker=action.worker,
            test=action.test,
            source=action.source,
        ),
        outage.used_before(view, lost),
        outage.failed_uses(view, lost, failures),
        outage.still_running(view, action),
    ]
    if same:
        workers = sorted({activity.worker for activity in same})
        evidence.append(Evidence(text=f"{', '.join(workers)} did so too, later: each worker tears it down"))
    until = lost.first_failure + MAX_DELAY
    noticed = [event for event in view.resource_outages if action.at - 0.5 <= event.at <= until]
    evidence += [outage.resource_event(event) for event in noticed[:1]]
    confidence = (0.62, 0.72, 0.86)[_weight(view, action)] + 0.04 * bool(same) + 0.05 * bool(noticed)
    confidence += 0.03 * any(map(outage.looks_gone, failures))
    return Finding(
        cause=Cause.EARLY_TEARDOWN,
        title=f"{action.worker} {outage.describe_action(action)} while other workers still used {shown}",
        confidence=min(confidence, 0.97),
        tests=tuple(dict.fromkeys(failure.test for failure in failures)),
        evidence=tuple(evidence),
        remedy=f"Take {shown} down once, after the last worker: let the controller own it (`@muster.shared`), "
        f"and take the teardown out of {action.source or 'the fixture'}.",
        resource=shown,
    )


def removed(view: RunView) -> Iterator[Finding]:
    """A worker that was done removed what it had not made, and tests failed only afterwards and only elsewhere.

    What is only read leaves no activity, so the target is not known to have been used; a rerun has to support this.
    """
    for action in view.record.activities if view.is_parallel else ():
        path = str(action.details.get("path"))
        if action.kind not in {"remove", "rename"} or not is_teardown(view, action) or _made(view, action.worker, path):
            continue
        failures = tuple(one for one in view.failures if one.at > action.at and one.worker != action.worker)
        if not failures or len(failures) < len(view.failures):
            continue
        before = [run for run in view.passed if run.stop <= action.at]
        if before:
            yield _removed(view, action, failures, passed=len(before))
            return


def _removed(view: RunView, action: Activity, failures: Sequence[Failure], *, passed: int) -> Finding:
    shown = view.display_name(Target(kind="path", name=str(action.details.get("path"))))
    evidence = (
        Evidence(
            text=f"{action.worker} {outage.describe_action(action)} at its end, and had not made it",
            at=action.at,
            worker=action.worker,
            test=action.test,
            source=action.source,
        ),
        Evidence(text=f"{passed} tests had passed until then"),
        outage.failures_since(view, failures),
        outage.still_running(view, action),
    )
    return Finding(
        cause=Cause.EARLY_TEARDOWN,
        title=f"{action.worker} {outage.describe_action(action)} while other workers still had tests to run",
        confidence=0.68,
        tests=tuple(dict.fromkeys(failure.test for failure in failures)),
        evidence=evidence,
        remedy=f"Take {shown} down once, after the last worker: let the controller own it (`@muster.shared`), "
        f"and take the teardown out of {action.source or 'the fixture'}.",
        resource=shown,
    )


def signalled(view: RunView) -> Iterator[Finding]:
    """A worker that was done ended a process of others, and what they first asked for afterwards refused them.

    Nobody had used the target before, so that no use shows that it was there; a rerun has to support this.
    """
    for action in view.record.activities if view.is_parallel else ():
        if action.kind != "kill" or not is_teardown(view, action) or _weight(view, action) < 2:
            continue
        failures: dict[Target, list[Failure]] = {}
        for failure in view.failures:
            later = failure.at > action.at and failure.worker != action.worker and outage.looks_gone(failure)
            target = _first_used_after(view, failure, action) if later else None
            if target is not None:
                failures.setdefault(target, []).append(failure)
        for target, found in failures.items():
            yield _signalled(view, action, target, found)
        if failures:
            return


def _first_used_after(view: RunView, failure: Failure, action: Activity) -> Target | None:
    """An address that the failed test used, that nobody had used in the same way before, and that served nobody."""
    runs = {(run.worker, run.test): run for run in view.record.tests}
    for target in view.targets_of(failure):
        own = [access for access in view.accesses_of(failure.run) if access.target == target]
        families = {access.activity.details.get("address_family") for access in own}
        alike = [
            (access, runs.get((access.worker, str(access.activity.test))))
            for access in view.by_target.get(target, ())
            if access.activity.kind == "connect" and access.activity.details.get("address_family") in families
        ]
        if target.is_file or not own or not alike:
            continue
        if all(access.at > action.at and (run is None or run.failed) for access, run in alike):
            return target
    return None


def _signalled(view: RunView, action: Activity, target: Target, failures: Sequence[Failure]) -> Finding:
    shown = view.display_name(target)
    started = [one for one in view.record.activities if one.kind == "spawn" and one.worker != action.worker]
    evidence = [
        Evidence(
            text=f"{action.worker} {outage.describe_action(action)} at its end, and had not started that process",
            at=action.at,
            worker=action.worker,
            test=action.test,
            source=action.source,
        ),
        Evidence(text=f"nobody had used {shown} until then", at=action.at),
        outage.failures_since(view, failures),
        outage.still_running(view, action),
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
        cause=Cause.EARLY_TEARDOWN,
        title=f"{action.worker} {outage.describe_action(action)} while other workers still needed {shown}",
        confidence=0.68,
        tests=tuple(dict.fromkeys(failure.test for failure in failures)),
        evidence=tuple(evidence),
        remedy=f"Take {shown} down once, after the last worker: let the controller own it (`@muster.shared`), "
        f"and take the teardown out of {action.source or 'the fixture'}.",
        resource=shown,
    )


def _made(view: RunView, worker: str, path: str) -> bool:
    """Whether a worker itself made something there."""
    return any(
        access.worker == worker and access.activity.kind in {"mkdir", "write"} and _is_within(access.target, path)
        for access in view.accesses
    )


def is_teardown(view: RunView, activity: Activity) -> bool:
    """Whether a worker did it while it took down what its tests had shared."""
    last = view.last_test_of.get(activity.worker)
    if last is None or activity.kind not in _STRONG | _WEAK:
        return False
    if activity.kind in _STRONG and activity.phase == "teardown":
        return True
    return (activity.test == last.test and activity.phase == "teardown") or (
        activity.test is None and activity.at >= last.stop
    )


def outage_at(view: RunView, action: Activity, target: Target) -> Outage | None:
    """Whether the target served others until the action, and hardly anybody afterwards."""
    accesses = view.by_target.get(target, ())
    results = {(run.worker, run.test): run for run in view.record.tests}
    good, later = [], set()
    for access in accesses:
        run = results.get((access.worker, str(access.activity.test)))
        if run is None or access.activity is action:
            continue
        # A test that used it before and failed after was served until then.
        if access.at < action.at and (not run.failed or failure_of(run).at >= action.at > run.start):
            good.append(access)
        elif run.outcome is Outcome.PASSED and run.start > action.at and access.worker != action.worker:
            later.add((run.worker, run.test))
    families = {access.activity.details.get("address_family") for access in good}
    failures = [one for one in view.failures if _used(view, one, target, families)]
    bad = [one for one in failures if one.at >= action.at and one.worker != action.worker]
    sooner = [one for one in failures if one.at < action.at]
    if not bad or not good or len(later) * 2 > len(bad) or len(sooner) * 5 > len(bad):
        return None
    return Outage(target=target, failures=tuple(bad), passed=tuple(good))


def _used(view: RunView, failure: Failure, target: Target, families: Collection[object]) -> bool:
    """Whether a failed test used the target in the way in which others did well."""
    used = {
        access.activity.details.get("address_family")
        for access in view.accesses_of(failure.run)
        if access.target == target
    }
    return bool(used & set(families)) if used else target in view.targets_of(failure)


def may_concern(view: RunView, action: Activity, target: Target) -> bool:
    """Whether the target can have been lost by this."""
    accesses = view.by_target.get(target, ())
    if action.kind in {"remove", "rename"}:
        return _is_within(target, str(action.details.get("path")))
    if action.kind in _WEAK:
        return any(access.activity is action for access in accesses)
    if target.is_file:
        return False
    used_it = any(access.worker == action.worker and access.at <= action.at for access in accesses)
    return used_it or not _spawned(view, action.worker)


def _weight(view: RunView, action: Activity) -> int:
    """2 if it ends something that others have, 1 if it may have been the worker's own, 0 if it is usual at an end."""
    if action.kind in {"remove", "rename"}:
        return 2
    if action.kind == "kill":
        own = {
            pid for activity in view.record.activities if activity.worker == action.worker for pid in _pids(activity)
        }
        return 1 if action.details.get("pid") in own else 2
    return int(action.kind == "spawn")


def _pids(activity: Activity) -> Sequence[int]:
    return activity.details.get("pids", ()) if activity.kind == "spawn" else ()


def _is_within(target: Target, path: str) -> bool:
    return target.is_file and PurePath(target.name).is_relative_to(path)


def _spawned(view: RunView, worker: str) -> bool:
    return any(activity.kind == "spawn" and activity.worker == worker for activity in view.record.activities)
