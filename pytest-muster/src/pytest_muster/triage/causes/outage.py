"""What tests shared was there, and then was not: torn down by a worker that was done, or gone by itself.

Both show the same turn: every use of the target passes before a moment and none after it. What happened at the turn
tells them apart.
"""

import errno
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from pytest_muster.records.journal import Outcome
from pytest_muster.records.reader import Activity, ResourceEvent, TestRun
from pytest_muster.triage.findings import Cause, Evidence, Finding
from pytest_muster.triage.run_view import Access, Failure, RunView, Target, failure_of

GONE = {
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.ENOTCONN,
    errno.EPIPE,
    errno.ENOENT,
    errno.ENXIO,
    errno.EHOSTUNREACH,
}
_GONE_CLASSES = ("Connect", "Connection", "BrokenPipe", "Disconnect", "ServerDown", "IncompleteRead", "FileNotFound")
_STRONG = {"kill", "remove", "rename", "spawn"}
_WEAK = {"connect", "write", "sqlite"}
NOTICED = 0.2  # seconds between the end of a test and the notice of what ended during it
SOON = 5.0  # seconds between what a worker did and the first failure that it can have caused


@dataclass(frozen=True, kw_only=True)
class Outage:
    """The moment from which a target no longer serves anybody."""

    target: Target
    failures: tuple[Failure, ...]
    """Of tests that used the target after the turn."""
    passed: tuple[Access, ...]
    """Uses before the turn by tests that passed."""

    @property
    def last_good(self) -> float:
        return self.passed[-1].at

    @property
    def first_bad(self) -> float:
        return self.failures[0].at


def looks_gone(failure: Failure) -> bool:
    error = failure.error
    return error.errno in GONE or any(name.startswith(_GONE_CLASSES) for name in (error.kind, *error.kinds))


def turns(view: RunView) -> Iterator[Outage]:
    """Targets that tests of any worker used well first, and that served no test that began later."""
    passed = {(run.worker, run.test): run for run in view.passed}
    failed: dict[Target, list[Failure]] = {}
    for failure in view.failures:
        for target in view.targets_of(failure):
            failed.setdefault(target, []).append(failure)
    for target, failures in failed.items():
        uses = [access for access in view.by_target.get(target, ()) if access.activity.kind != "remove"]
        good = [access for access in uses if (access.worker, str(access.activity.test)) in passed]
        # A test that was running at the turn may have used the target before it.
        bad = [failure for failure in failures if not good or failure.at > good[-1].at]
        if good and bad and len(bad) >= 0.9 * len(failures):
            yield Outage(target=target, failures=tuple(bad), passed=tuple(good))


def torn_down(view: RunView) -> Iterator[Finding]:
    """A worker that was done took away what others still used."""
    if not view.is_parallel:
        return
    found: dict[int, Finding] = {}
    for target in dict.fromkeys(target for failure in view.failures for target in view.targets_of(failure)):
        actions = [
            action for action in view.record.activities if is_ending(view, action) and _concerns(view, action, target)
        ]
        turned = [(action, turn) for action in actions if (turn := _turn_at(view, action, target)) is not None]
        if turned:
            # The most telling action, and of those the first.
            action, turn = max(turned, key=lambda one: (_weight(view, one[0]), -one[0].at))
            claim = _torn_down(view, turn, action)
            known = found.get(id(action))
            if known is None or len(known.tests) < len(claim.tests):
                found[id(action)] = claim
    yield from found.values()


def removed(view: RunView) -> Iterator[Finding]:
    """A worker that was done removed what it had not made, and tests failed only afterwards and only elsewhere.

    What is only read leaves no activity, so the target is not known to have been used; a rerun has to support this.
    """
    for action in view.record.activities if view.is_parallel else ():
        path = str(action.details.get("path"))
        if action.kind not in {"remove", "rename"} or not is_ending(view, action) or _made(view, action.worker, path):
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
            text=f"{action.worker} {describe(action)} at its end, and had not made it",
            at=action.at,
            worker=action.worker,
            test=action.test,
            source=action.source,
        ),
        Evidence(text=f"{passed} tests had passed until then"),
        _failed_after(view, failures),
        _running(view, action),
    )
    return Finding(
        cause=Cause.EARLY_TEARDOWN,
        title=f"{action.worker} {describe(action)} while other workers still had tests to run",
        confidence=0.68,
        tests=tuple(dict.fromkeys(failure.test for failure in failures)),
        evidence=evidence,
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


def is_ending(view: RunView, activity: Activity) -> bool:
    """Whether a worker did it while it took down what its tests had shared."""
    last = view.last_test_of.get(activity.worker)
    if last is None or activity.kind not in _STRONG | _WEAK:
        return False
    if activity.kind in _STRONG and activity.phase == "teardown":
        return True
    return (activity.test == last.test and activity.phase == "teardown") or (
        activity.test is None and activity.at >= last.stop
    )


def _turn_at(view: RunView, action: Activity, target: Target) -> Outage | None:
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


def _concerns(view: RunView, action: Activity, target: Target) -> bool:
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


def _torn_down(view: RunView, turn: Outage, action: Activity) -> Finding:
    shown = view.display_name(turn.target)
    failures = turn.failures
    same = [
        activity
        for activity in view.record.activities
        if activity.kind == action.kind and activity.source == action.source and activity.worker != action.worker
    ]
    evidence = [
        Evidence(
            text=f"{action.worker} {describe(action)} at its end, {view.elapsed(action.at)} after the first test began",
            at=action.at,
            worker=action.worker,
            test=action.test,
            source=action.source,
        ),
        _before(view, turn),
        _after(view, turn, failures),
        _running(view, action),
    ]
    if same:
        workers = sorted({activity.worker for activity in same})
        evidence.append(Evidence(text=f"{', '.join(workers)} did so too, later: each worker tears it down"))
    lost = [event for event in view.resource_outages if action.at - 0.5 <= event.at <= turn.first_bad + SOON]
    evidence += [_event(event) for event in lost[:1]]
    confidence = (0.62, 0.72, 0.86)[_weight(view, action)] + 0.04 * bool(same) + 0.05 * bool(lost)
    confidence += 0.03 * any(map(looks_gone, failures))
    return Finding(
        cause=Cause.EARLY_TEARDOWN,
        title=f"{action.worker} {describe(action)} while other workers still used {shown}",
        confidence=min(confidence, 0.97),
        tests=tuple(dict.fromkeys(failure.test for failure in failures)),
        evidence=tuple(evidence),
        remedy=f"Take {shown} down once, after the last worker: let the controller own it (`@muster.shared`), "
        f"and take the teardown out of {action.source or 'the fixture'}.",
        resource=shown,
    )


def gone(view: RunView) -> Iterator[Finding]:
    """Something that tests used went away, and no worker did it."""
    yield from _events(view)
    yield from _children(view)
    if view.resource_outages:
        return
    for turn in turns(view):
        enough = len({failure.test for failure in turn.failures}) >= 2
        if turn.target.is_file or not enough or not any(map(looks_gone, turn.failures)):
            continue
        if view.is_parallel and any(
            is_ending(view, action) and _concerns(view, action, turn.target) and _turn_at(view, action, turn.target)
            for action in view.record.activities
        ):
            continue
        yield _gone(view, turn)


def _events(view: RunView) -> Iterator[Finding]:
    for name in dict.fromkeys(event.name for event in view.resource_outages):
        event = next(one for one in view.resource_outages if one.name == name)
        ended = event.event == "died"
        failures = [one for one in view.failures if one.at >= event.at - SOON and (looks_gone(one) or ended)]
        if not failures:
            continue
        good = [run for run in view.passed if run.stop <= event.at]
        evidence = [_event(event)]
        evidence += [Evidence(text=f"{len(good)} tests had passed until then")] if good else []
        evidence.append(Evidence(text=f"{len(failures)} tests failed from then on", test=failures[0].test))
        alike = sum(map(looks_gone, failures)) / len(failures)
        yield Finding(
            cause=Cause.INFRASTRUCTURE_GONE,
            title=f"{name} {'died' if ended else 'no longer answered'} {view.elapsed(event.at)} after the first test",
            confidence=0.75 + 0.1 * ended + 0.1 * alike,
            tests=tuple(dict.fromkeys(failure.test for failure in failures)),
            evidence=tuple(evidence),
            remedy=f"Find out in the log of {name} why it ended; the tests are not to blame.",
            resource=name,
        )


def _children(view: RunView) -> Iterator[Finding]:
    """A process that a worker, or all of them, had: it ended between the last test that passed and a failure."""
    claims: dict[str, Finding] = {}
    for activity in view.record.activities:
        if activity.kind != "child_exit" or _was_killed(view, activity) or _is_its_own(view, activity):
            continue
        mine = _having(view, activity)
        before = [run for run in mine if run.stop <= activity.at]
        # It was noticed after the first test that failed of it, or after the one before.
        theirs = {id(run) for run in mine}
        failures = [one for one in view.failures if id(one.run) in theirs and one.run.stop >= activity.at - NOTICED]
        earlier = [one for one in view.failures if id(one.run) in theirs and one.run.stop < activity.at - NOTICED]
        after = [run for run in mine if run.start > activity.at and run.outcome is Outcome.PASSED]
        if failures and not earlier and before and len(after) <= len(failures):
            claim = _ended(view, activity, failures, passed=len(before))
            known = claims.get(claim.remedy)
            claims[claim.remedy] = _merged(known, claim) if known else claim
    yield from claims.values()


def _having(view: RunView, child: Activity) -> list[TestRun]:
    """The tests of the worker whose child it was, and of others who talked to where those that failed did."""
    if child.worker not in view.workers:
        return list(view.record.tests)
    of_child = [one for one in view.failures if one.worker == child.worker and one.at >= child.at - NOTICED]
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
        _failed_after(view, failures),
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


def _failed_after(view: RunView, failures: Sequence[Failure]) -> Evidence:
    first = failures[0]
    return Evidence(
        text=f"{len(failures)} tests failed from then on, first at {view.elapsed(first.at)} with {first.error.kind}",
        at=first.at,
        worker=first.worker,
        test=first.test,
        source=first.source,
    )


def _gone(view: RunView, turn: Outage) -> Finding:
    shown = view.display_name(turn.target)
    return Finding(
        cause=Cause.INFRASTRUCTURE_GONE,
        title=f"what answered at {shown} was gone from {view.elapsed(turn.first_bad)} after the first test on",
        confidence=0.75,
        tests=tuple(dict.fromkeys(failure.test for failure in turn.failures)),
        evidence=(
            _before(view, turn),
            _after(view, turn, turn.failures),
            Evidence(text="no worker was seen to stop it"),
        ),
        remedy=f"Find out in the log of what listens at {shown} why it ended, and let pytest-muster start and watch it "
        "(`@muster.shared`).",
        resource=shown,
    )


def describe(action: Activity) -> str:
    details = action.details
    match action.kind:
        case "kill":
            return f"sent signal {details.get('signal')} to process {details.get('pid')}"
        case "remove":
            return f"removed {details.get('path')}"
        case "rename":
            return f"moved {details.get('path')}"
        case "spawn":
            return f"ran `{' '.join(map(str, details.get('argv', ())))}`"
        case "connect":
            return f"talked to {details.get('host', details.get('path'))}:{details.get('port', '')}".rstrip(":")
        case "sqlite":
            return f"opened {details.get('path')}"
        case _:
            return f"wrote {details.get('path')}"


def _before(view: RunView, turn: Outage) -> Evidence:
    last = turn.passed[-1]
    tests = {access.activity.test for access in turn.passed}
    return Evidence(
        text=f"{len(tests)} tests used {view.display_name(turn.target)} well before, "
        f"the last at {view.elapsed(last.at)}",
        at=last.at,
        worker=last.worker,
        test=last.activity.test,
    )


def _after(view: RunView, turn: Outage, failures: Sequence[Failure]) -> Evidence:
    first = failures[0]
    what = f"{first.error.kind}" + (f" (errno {first.error.errno})" if first.error.errno is not None else "")
    return Evidence(
        text=f"all {len(failures)} uses afterwards failed, the first at {view.elapsed(first.at)} with {what}",
        at=first.at,
        worker=first.worker,
        test=first.test,
        source=first.source,
    )


def _running(view: RunView, action: Activity) -> Evidence:
    others = sorted({run.worker for run in view.record.tests if run.stop > action.at and run.worker != action.worker})
    return Evidence(text=f"{', '.join(others)} still had tests to run at that moment", at=action.at)


def _event(event: ResourceEvent) -> Evidence:
    tail = (event.tail or event.error or "").strip().splitlines()[-3:]
    what = "died" if event.event == "died" else "failed its probe"
    words = f"; its last lines: {' | '.join(tail)}" if tail else ""
    return Evidence(text=f"{event.name} {what}{words}", at=event.at, worker=event.worker)
