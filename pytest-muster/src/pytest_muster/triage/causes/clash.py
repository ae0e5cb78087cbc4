"""Tests of different workers meet at one port, one file, or one name in something that they share."""

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pytest_muster.records.run_record import Activity
from pytest_muster.triage.findings import Cause, Evidence, Finding
from pytest_muster.triage.run_view import Access, Failure, RunView, Target

_CONFLICTS = ("Exists", "Integrity", "Conflict", "Duplicate", "Unique", "Already", "Locked", "Operational")
_CHANGING = {"write", "remove", "rename", "mkdir"}
_REMOVING = {"remove", "rename"}
_TOUCHING = 0.05  # seconds by which two tests may miss each other and still have met


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """A failed test and tests of other workers that touched the same target meanwhile."""

    cause: Cause
    target: Target
    failure: Failure
    own: Access
    others: tuple[Access, ...]

    @property
    def tests(self) -> tuple[str, ...]:
        """The tests of the others."""
        return tuple(dict.fromkeys(str(access.activity.test) for access in self.others if access.activity.test))


def meetings(view: RunView, failure: Failure) -> list[Meeting]:
    """Where this failure can have come from, the likeliest first."""
    if not view.is_parallel:
        return []
    found: list[tuple[int, Meeting]] = []
    for target, own in _own(view, failure).items():
        others = [
            access
            for access in view.by_target[target]
            if access.worker != failure.worker and _meet(view, failure, access)
        ]
        cause = _cause(target, own, others)
        if cause is not None:
            score = _score(failure, target, cause)
            found.append(
                (score, Meeting(cause=cause, target=target, failure=failure, own=own[-1], others=tuple(others)))
            )
    found += [(3, meeting) for meeting in _children(view, failure)]
    return [meeting for _, meeting in sorted(found, key=lambda scored: -scored[0])]


def claims(view: RunView) -> Iterator[Finding]:
    """What is plain without a rerun: two listeners on one port, or an error about a file that another test changed."""
    by_target: dict[tuple[Cause, Target], list[Meeting]] = {}
    for failure in view.failures:
        for meeting in meetings(view, failure)[:1]:
            if _confidence(view, meeting):
                by_target.setdefault((meeting.cause, meeting.target), []).append(meeting)
    for several in by_target.values():
        yield finding(view, several, confidence=max(_confidence(view, meeting) for meeting in several))


def finding(view: RunView, several: Sequence[Meeting], *, confidence: float) -> Finding:
    first = several[0]
    shown = view.display_name(first.target)
    words = {
        Cause.PORT_CLASH: (f"tests of several workers listen at {shown}", _PORT),
        Cause.FILE_CLASH: (f"tests of several workers change {shown} at the same time", _FILE),
        Cause.NAME_CLASH: (f"tests of several workers use the same names in {shown}", _NAME),
    }
    title, remedy = words[first.cause]
    evidence = [_touched(view, access) for access in (first.own, *first.others[:3])]
    evidence.append(
        Evidence(
            text=f"{first.failure.test} failed on {first.failure.worker} with {first.failure.error.kind}",
            at=first.failure.at,
            worker=first.failure.worker,
            test=first.failure.test,
            source=first.failure.source,
        )
    )
    return Finding(
        cause=first.cause,
        title=title,
        confidence=confidence,
        tests=tuple(dict.fromkeys(meeting.failure.test for meeting in several)),
        evidence=tuple(evidence),
        remedy=remedy,
        resource=shown,
    )


def confirmed(view: RunView, several: Sequence[Meeting], *, shown: Sequence[str], reruns: int, sure: bool) -> Finding:
    """Reruns showed that the tests fail only beside those of other workers."""
    claim = finding(view, several, confidence=0.92 if sure else 0.75)
    more = tuple(Evidence(text=text, test=several[0].failure.test) for text in shown)
    return replace(claim, evidence=(*claim.evidence, *more), reruns=reruns)


_PORT = "Give each worker a port of its own: listen on port 0, or lease one (`muster_test.port()`)."
_FILE = "Give each test a directory of its own (`tmp_path`, `muster_test.directory`)."
_NAME = "Give each test names of its own (`muster_test.name(...)`), or each worker a database or topic of its own."


def _own(view: RunView, failure: Failure) -> dict[Target, tuple[Access, ...]]:
    """What the failed test touched, or its worker for all of its tests."""
    found: dict[Target, tuple[Access, ...]] = {}
    for target, accesses in view.by_target.items():
        mine = [access for access in accesses if access.worker == failure.worker and access.at <= failure.at]
        own = [access for access in mine if access.activity.test == failure.test]
        if not own:
            # The set-up of a fixture that several tests share is written down for the first of them.
            own = [access for access in mine if access.activity.phase in {"setup", "session"}]
        if own:
            found[target] = tuple(own)
    return found


def _meet(view: RunView, failure: Failure, access: Access) -> bool:
    """Whether something touched by another worker was in its hands while the failed test ran."""
    if access.at > failure.at:
        return False
    if access.activity.kind == "listen" or access.activity.phase in {"setup", "session"}:
        last = view.last_test_of.get(access.worker)  # it may be held until the end of that worker
        return last is None or last.stop >= failure.run.start
    test = next((run for run in view.record.tests_of(access.worker) if run.test == access.activity.test), None)
    return test is not None and test.stop + _TOUCHING >= failure.run.start


def _cause(target: Target, own: Sequence[Access], others: Sequence[Access]) -> Cause | None:
    if not others:
        return None
    if target.kind == "path":
        changing = any(access.activity.kind in _CHANGING for access in others)
        return Cause.FILE_CLASH if changing else None
    listening = [access for access in own if access.activity.kind == "listen"]
    if listening and any(access.activity.kind == "listen" for access in others):
        return Cause.PORT_CLASH
    connecting = any(access.activity.kind in {"connect", "sqlite"} for access in own)
    return Cause.NAME_CLASH if connecting and not listening else None


def _score(failure: Failure, target: Target, cause: Cause) -> int:
    named = failure.error.address is not None and failure.error.address in {target.name, f"{target.name}/"}
    rank = {Cause.PORT_CLASH: 3, Cause.FILE_CLASH: 2, Cause.NAME_CLASH: 1}[cause]
    return rank + 4 * named + (failure.error.errno == errno.EADDRINUSE and cause is Cause.PORT_CLASH) * 4


def _confidence(view: RunView, meeting: Meeting) -> float:
    """0 if only a rerun can tell."""
    error = meeting.failure.error
    match meeting.cause:
        case Cause.PORT_CLASH if meeting.own.activity.kind == "spawn":
            # Of two processes that want one port, one ends.
            workers = {access.worker for access in (meeting.own, *meeting.others)}
            ended = any(
                activity.kind == "child_exit" and activity.worker in workers for activity in view.record.activities
            )
            return 0.91 if ended else 0.78
        case Cause.PORT_CLASH:
            return 0.93 if error.errno == errno.EADDRINUSE else 0.78
        case Cause.FILE_CLASH:
            return 0.82 if _explains(meeting) else 0.0
        case _:
            conflict = any(word in kind for kind in (error.kind, *error.kinds) for word in _CONFLICTS)
            return 0.7 if conflict or error.errno == errno.EEXIST else 0.0


def _explains(meeting: Meeting) -> bool:
    """Whether what the others did to the file is what the error complains of."""
    error, name = meeting.failure.error, meeting.target.name
    done = {access.activity.kind for access in meeting.others}
    match error.errno:
        case errno.ENOENT:
            is_within = error.address is not None and f"{error.address}/".startswith(f"{name}/")
            return is_within and not done.isdisjoint(_REMOVING)
        case errno.EEXIST | errno.ENOTEMPTY:
            return error.address == name and not done.isdisjoint(_CHANGING - {"remove"})
        case _:
            return False


def _children(view: RunView, failure: Failure) -> Iterator[Meeting]:
    """Workers that start processes with one port among their arguments, and talk to that port."""
    for target in view.targets_of(failure):
        port = target.name.rpartition(":")[2]
        if target.is_file or not port.isdecimal():
            continue
        starting = [
            activity
            for activity in view.record.activities
            if activity.kind == "spawn" and _has_argument(activity, port)
        ]
        own = [activity for activity in starting if activity.worker == failure.worker]
        others = [activity for activity in starting if activity.worker != failure.worker]
        if own and others:
            yield Meeting(
                cause=Cause.PORT_CLASH,
                target=target,
                failure=failure,
                own=Access(target=target, activity=own[0]),
                others=tuple(Access(target=target, activity=activity) for activity in others),
            )


def _has_argument(activity: Activity, port: str) -> bool:
    return any(port in str(argument).replace("=", ":").split(":") for argument in activity.details.get("argv", ()))


def _touched(view: RunView, access: Access) -> Evidence:
    verbs = {"listen": "listens at", "connect": "connects to", "sqlite": "opens", "write": "writes", "spawn": "starts"}
    verb = verbs.get(access.activity.kind, f"{access.activity.kind}s")
    what = view.display_name(access.target)
    what = f"a process for {what}" if access.activity.kind == "spawn" else what
    who = f"{access.activity.test} on {access.worker}" if access.activity.test else access.worker
    return Evidence(
        text=f"{who} {verb} {what} at {view.elapsed(access.at)}",
        at=access.at,
        worker=access.worker,
        test=access.activity.test,
        source=access.activity.source,
    )
