"""What tests shared was there, and then was not: torn down by a worker that was done, or gone by itself.

Both show the same turn: every use of the target passes before a moment and none after it. What happened at the turn
tells them apart.
"""

import errno
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from pytest_muster.records.journal import Outcome
from pytest_muster.records.reader import Fact, ResourceEvent, TestRun
from pytest_muster.triage.findings import Cause, Evidence, Finding
from pytest_muster.triage.scene import Failure, Scene, Target, Touch, failure_of

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
class Turn:
    """The moment from which a target no longer serves anybody."""

    target: Target
    failures: tuple[Failure, ...]
    """Of tests that used the target after the turn."""
    passed: tuple[Touch, ...]
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


def turns(scene: Scene) -> Iterator[Turn]:
    """Targets that tests of any worker used well first, and that served no test that began later."""
    passed = {(run.worker, run.test): run for run in scene.passed}
    failed: dict[Target, list[Failure]] = {}
    for failure in scene.failures:
        for target in scene.targets_of(failure):
            failed.setdefault(target, []).append(failure)
    for target, failures in failed.items():
        uses = [touch for touch in scene.by_target.get(target, ()) if touch.fact.kind != "remove"]
        good = [touch for touch in uses if (touch.worker, str(touch.fact.test)) in passed]
        # A test that was running at the turn may have used the target before it.
        bad = [failure for failure in failures if not good or failure.at > good[-1].at]
        if good and bad and len(bad) >= 0.9 * len(failures):
            yield Turn(target=target, failures=tuple(bad), passed=tuple(good))


def torn_down(scene: Scene) -> Iterator[Finding]:
    """A worker that was done took away what others still used."""
    if not scene.is_parallel:
        return
    found: dict[int, Finding] = {}
    for target in dict.fromkeys(target for failure in scene.failures for target in scene.targets_of(failure)):
        deeds = [deed for deed in scene.record.facts if is_ending(scene, deed) and _concerns(scene, deed, target)]
        turned = [(deed, turn) for deed in deeds if (turn := _turn_at(scene, deed, target)) is not None]
        if turned:
            # The most telling deed, and of those the first.
            deed, turn = max(turned, key=lambda one: (_weight(scene, one[0]), -one[0].at))
            claim = _torn_down(scene, turn, deed)
            known = found.get(id(deed))
            if known is None or len(known.tests) < len(claim.tests):
                found[id(deed)] = claim
    yield from found.values()


def removed(scene: Scene) -> Iterator[Finding]:
    """A worker that was done removed what it had not made, and tests failed only afterwards and only elsewhere.

    What is only read leaves no fact, so the target is not known to have been used; a rerun has to support this.
    """
    for deed in scene.record.facts if scene.is_parallel else ():
        path = str(deed.details.get("path"))
        if deed.kind not in {"remove", "rename"} or not is_ending(scene, deed) or _made(scene, deed.worker, path):
            continue
        failures = tuple(one for one in scene.failures if one.at > deed.at and one.worker != deed.worker)
        if not failures or len(failures) < len(scene.failures):
            continue
        before = [run for run in scene.passed if run.stop <= deed.at]
        if before:
            yield _removed(scene, deed, failures, passed=len(before))
            return


def _removed(scene: Scene, deed: Fact, failures: Sequence[Failure], *, passed: int) -> Finding:
    shown = scene.shown(Target(kind="path", name=str(deed.details.get("path"))))
    evidence = (
        Evidence(
            text=f"{deed.worker} {describe(deed)} at its end, and had not made it",
            at=deed.at,
            worker=deed.worker,
            test=deed.test,
            source=deed.source,
        ),
        Evidence(text=f"{passed} tests had passed until then"),
        _failed_after(scene, failures),
        _running(scene, deed),
    )
    return Finding(
        cause=Cause.EARLY_TEARDOWN,
        title=f"{deed.worker} {describe(deed)} while other workers still had tests to run",
        confidence=0.68,
        tests=tuple(dict.fromkeys(failure.test for failure in failures)),
        evidence=evidence,
        remedy=f"Take {shown} down once, after the last worker: let the controller own it (`@muster.shared`), "
        f"and take the teardown out of {deed.source or 'the fixture'}.",
        resource=shown,
    )


def _made(scene: Scene, worker: str, path: str) -> bool:
    """Whether a worker itself made something there."""
    return any(
        touch.worker == worker and touch.fact.kind in {"mkdir", "write"} and _is_within(touch.target, path)
        for touch in scene.touches
    )


def is_ending(scene: Scene, fact: Fact) -> bool:
    """Whether a worker did it while it took down what its tests had shared."""
    last = scene.last_of.get(fact.worker)
    if last is None or fact.kind not in _STRONG | _WEAK:
        return False
    if fact.kind in _STRONG and fact.phase == "teardown":
        return True
    return (fact.test == last.test and fact.phase == "teardown") or (fact.test is None and fact.at >= last.stop)


def _turn_at(scene: Scene, deed: Fact, target: Target) -> Turn | None:
    """Whether the target served others until the deed, and hardly anybody afterwards."""
    touches = scene.by_target.get(target, ())
    results = {(run.worker, run.test): run for run in scene.record.tests}
    good, later = [], set()
    for touch in touches:
        run = results.get((touch.worker, str(touch.fact.test)))
        if run is None or touch.fact is deed:
            continue
        # A test that used it before and failed after was served until then.
        if touch.at < deed.at and (not run.failed or failure_of(run).at >= deed.at > run.start):
            good.append(touch)
        elif run.outcome is Outcome.PASSED and run.start > deed.at and touch.worker != deed.worker:
            later.add((run.worker, run.test))
    families = {touch.fact.details.get("family") for touch in good}
    failures = [one for one in scene.failures if _used(scene, one, target, families)]
    bad = [one for one in failures if one.at >= deed.at and one.worker != deed.worker]
    sooner = [one for one in failures if one.at < deed.at]
    if not bad or not good or len(later) * 2 > len(bad) or len(sooner) * 5 > len(bad):
        return None
    return Turn(target=target, failures=tuple(bad), passed=tuple(good))


def _used(scene: Scene, failure: Failure, target: Target, families: Collection[object]) -> bool:
    """Whether a failed test used the target in the way in which others did well."""
    used = {touch.fact.details.get("family") for touch in scene.touched_by(failure.run) if touch.target == target}
    return bool(used & set(families)) if used else target in scene.targets_of(failure)


def _concerns(scene: Scene, deed: Fact, target: Target) -> bool:
    """Whether the target can have been lost by this."""
    touches = scene.by_target.get(target, ())
    if deed.kind in {"remove", "rename"}:
        return _is_within(target, str(deed.details.get("path")))
    if deed.kind in _WEAK:
        return any(touch.fact is deed for touch in touches)
    if target.is_file:
        return False
    used_it = any(touch.worker == deed.worker and touch.at <= deed.at for touch in touches)
    return used_it or not _spawned(scene, deed.worker)


def _weight(scene: Scene, deed: Fact) -> int:
    """2 if it ends something that others have, 1 if it may have been the worker's own, 0 if it is usual at an end."""
    if deed.kind in {"remove", "rename"}:
        return 2
    if deed.kind == "kill":
        own = {pid for fact in scene.record.facts if fact.worker == deed.worker for pid in _pids(fact)}
        return 1 if deed.details.get("pid") in own else 2
    return int(deed.kind == "spawn")


def _pids(fact: Fact) -> Sequence[int]:
    return fact.details.get("pids", ()) if fact.kind == "spawn" else ()


def _is_within(target: Target, path: str) -> bool:
    return target.is_file and PurePath(target.name).is_relative_to(path)


def _spawned(scene: Scene, worker: str) -> bool:
    return any(fact.kind == "spawn" and fact.worker == worker for fact in scene.record.facts)


def _torn_down(scene: Scene, turn: Turn, deed: Fact) -> Finding:
    shown = scene.shown(turn.target)
    failures = turn.failures
    same = [
        fact
        for fact in scene.record.facts
        if fact.kind == deed.kind and fact.source == deed.source and fact.worker != deed.worker
    ]
    evidence = [
        Evidence(
            text=f"{deed.worker} {describe(deed)} at its end, {scene.moment(deed.at)} after the first test began",
            at=deed.at,
            worker=deed.worker,
            test=deed.test,
            source=deed.source,
        ),
        _before(scene, turn),
        _after(scene, turn, failures),
        _running(scene, deed),
    ]
    if same:
        workers = sorted({fact.worker for fact in same})
        evidence.append(Evidence(text=f"{', '.join(workers)} did so too, later: each worker tears it down"))
    lost = [event for event in scene.lost if deed.at - 0.5 <= event.at <= turn.first_bad + SOON]
    evidence += [_event(event) for event in lost[:1]]
    confidence = (0.62, 0.72, 0.86)[_weight(scene, deed)] + 0.04 * bool(same) + 0.05 * bool(lost)
    confidence += 0.03 * any(map(looks_gone, failures))
    return Finding(
        cause=Cause.EARLY_TEARDOWN,
        title=f"{deed.worker} {describe(deed)} while other workers still used {shown}",
        confidence=min(confidence, 0.97),
        tests=tuple(dict.fromkeys(failure.test for failure in failures)),
        evidence=tuple(evidence),
        remedy=f"Take {shown} down once, after the last worker: let the controller own it (`@muster.shared`), "
        f"and take the teardown out of {deed.source or 'the fixture'}.",
        resource=shown,
    )


def gone(scene: Scene) -> Iterator[Finding]:
    """Something that tests used went away, and no worker did it."""
    yield from _events(scene)
    yield from _children(scene)
    if scene.lost:
        return
    for turn in turns(scene):
        enough = len({failure.test for failure in turn.failures}) >= 2
        if turn.target.is_file or not enough or not any(map(looks_gone, turn.failures)):
            continue
        if scene.is_parallel and any(
            is_ending(scene, deed) and _concerns(scene, deed, turn.target) and _turn_at(scene, deed, turn.target)
            for deed in scene.record.facts
        ):
            continue
        yield _gone(scene, turn)


def _events(scene: Scene) -> Iterator[Finding]:
    for name in dict.fromkeys(event.name for event in scene.lost):
        event = next(one for one in scene.lost if one.name == name)
        ended = event.event == "died"
        failures = [one for one in scene.failures if one.at >= event.at - SOON and (looks_gone(one) or ended)]
        if not failures:
            continue
        good = [run for run in scene.passed if run.stop <= event.at]
        evidence = [_event(event)]
        evidence += [Evidence(text=f"{len(good)} tests had passed until then")] if good else []
        evidence.append(Evidence(text=f"{len(failures)} tests failed from then on", test=failures[0].test))
        alike = sum(map(looks_gone, failures)) / len(failures)
        yield Finding(
            cause=Cause.INFRASTRUCTURE_GONE,
            title=f"{name} {'died' if ended else 'no longer answered'} {scene.moment(event.at)} after the first test",
            confidence=0.75 + 0.1 * ended + 0.1 * alike,
            tests=tuple(dict.fromkeys(failure.test for failure in failures)),
            evidence=tuple(evidence),
            remedy=f"Find out in the log of {name} why it ended; the tests are not to blame.",
            resource=name,
        )


def _children(scene: Scene) -> Iterator[Finding]:
    """A process that a worker, or all of them, had: it ended between the last test that passed and a failure."""
    claims: dict[str, Finding] = {}
    for fact in scene.record.facts:
        if fact.kind != "child" or _was_killed(scene, fact) or _is_its_own(scene, fact):
            continue
        mine = _having(scene, fact)
        before = [run for run in mine if run.stop <= fact.at]
        # It was noticed after the first test that failed of it, or after the one before.
        theirs = {id(run) for run in mine}
        failures = [one for one in scene.failures if id(one.run) in theirs and one.run.stop >= fact.at - NOTICED]
        earlier = [one for one in scene.failures if id(one.run) in theirs and one.run.stop < fact.at - NOTICED]
        after = [run for run in mine if run.start > fact.at and run.outcome is Outcome.PASSED]
        if failures and not earlier and before and len(after) <= len(failures):
            claim = _ended(scene, fact, failures, passed=len(before))
            known = claims.get(claim.remedy)
            claims[claim.remedy] = _merged(known, claim) if known else claim
    yield from claims.values()


def _having(scene: Scene, child: Fact) -> list[TestRun]:
    """The tests of the worker whose child it was, and of others who talked to where those that failed did."""
    if child.worker not in scene.workers:
        return list(scene.record.tests)
    of_child = [one for one in scene.failures if one.worker == child.worker and one.at >= child.at - NOTICED]
    places = {target for one in of_child for target in scene.targets_of(one) if not target.is_file}
    return [
        run
        for run in scene.record.tests
        if run.worker == child.worker or any(touch.target in places for touch in scene.touched_by(run))
    ]


def _merged(one: Finding, other: Finding) -> Finding:
    return replace(one, tests=(*one.tests, *other.tests), evidence=(*one.evidence, *other.evidence))


def _is_its_own(scene: Scene, child: Fact) -> bool:
    """Whether the test in which the child ended may have started it."""
    started = [fact for fact in scene.record.facts if fact.kind == "spawn" and fact.worker == child.worker]
    return bool(started) and all(fact.test == child.test and fact.phase == "call" for fact in started)


def _was_killed(scene: Scene, child: Fact) -> bool:
    return any(
        fact.kind == "kill" and fact.details.get("pid") == child.details.get("pid") for fact in scene.record.facts
    )


def _ended(scene: Scene, fact: Fact, failures: Sequence[Failure], *, passed: int) -> Finding:
    signal, status, name = (fact.details.get(key) for key in ("signal", "status", "name"))
    how = f"was killed by signal {signal}" if signal is not None else f"exited with {status}"
    what = f"the process {name or ''} ({fact.details.get('pid')})".replace("  ", " ")
    started = [other for other in scene.record.facts if other.kind == "spawn" and other.worker == fact.worker]
    evidence = [
        Evidence(text=f"{what}, a child of {fact.worker}, {how}; no test did it", at=fact.at, worker=fact.worker),
        Evidence(text=f"{passed} tests had passed until then"),
        _failed_after(scene, failures),
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
        title=f"{what} {how} {scene.moment(fact.at)} after the first test began",
        confidence=0.88 if signal is not None or status else 0.7,
        tests=tuple(dict.fromkeys(failure.test for failure in failures)),
        evidence=tuple(evidence),
        remedy=f"Find out why {name or 'it'} {how}, for instance in its log; the tests are not to blame.",
        resource=str(name) if name else None,
    )


def _failed_after(scene: Scene, failures: Sequence[Failure]) -> Evidence:
    first = failures[0]
    return Evidence(
        text=f"{len(failures)} tests failed from then on, first at {scene.moment(first.at)} with {first.error.kind}",
        at=first.at,
        worker=first.worker,
        test=first.test,
        source=first.source,
    )


def _gone(scene: Scene, turn: Turn) -> Finding:
    shown = scene.shown(turn.target)
    return Finding(
        cause=Cause.INFRASTRUCTURE_GONE,
        title=f"what answered at {shown} was gone from {scene.moment(turn.first_bad)} after the first test on",
        confidence=0.75,
        tests=tuple(dict.fromkeys(failure.test for failure in turn.failures)),
        evidence=(
            _before(scene, turn),
            _after(scene, turn, turn.failures),
            Evidence(text="no worker was seen to stop it"),
        ),
        remedy=f"Find out in the log of what listens at {shown} why it ended, and let pytest-muster start and watch it "
        "(`@muster.shared`).",
        resource=shown,
    )


def describe(deed: Fact) -> str:
    details = deed.details
    match deed.kind:
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


def _before(scene: Scene, turn: Turn) -> Evidence:
    last = turn.passed[-1]
    tests = {touch.fact.test for touch in turn.passed}
    return Evidence(
        text=f"{len(tests)} tests used {scene.shown(turn.target)} well before, the last at {scene.moment(last.at)}",
        at=last.at,
        worker=last.worker,
        test=last.fact.test,
    )


def _after(scene: Scene, turn: Turn, failures: Sequence[Failure]) -> Evidence:
    first = failures[0]
    what = f"{first.error.kind}" + (f" (errno {first.error.errno})" if first.error.errno is not None else "")
    return Evidence(
        text=f"all {len(failures)} uses afterwards failed, the first at {scene.moment(first.at)} with {what}",
        at=first.at,
        worker=first.worker,
        test=first.test,
        source=first.source,
    )


def _running(scene: Scene, deed: Fact) -> Evidence:
    others = sorted({run.worker for run in scene.record.tests if run.stop > deed.at and run.worker != deed.worker})
    return Evidence(text=f"{', '.join(others)} still had tests to run at that moment", at=deed.at)


def _event(event: ResourceEvent) -> Evidence:
    tail = (event.tail or event.error or "").strip().splitlines()[-3:]
    what = "died" if event.event == "died" else "failed its probe"
    words = f"; its last lines: {' | '.join(tail)}" if tail else ""
    return Evidence(text=f"{event.name} {what}{words}", at=event.at, worker=event.worker)
