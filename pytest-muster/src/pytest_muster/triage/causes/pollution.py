"""A test fails because of what another test of the same process left behind."""

from collections.abc import Iterator, Sequence
from math import ceil, log2

from pytest_muster.records.run_record import LEAK_FAILURE, Activity, TestRun
from pytest_muster.triage.bisection import Search
from pytest_muster.triage.findings import Cause, Evidence, Finding
from pytest_muster.triage.run_view import Failure, RunView

CHANGES = {"global", "environ", "cwd"}


def changes_of(view: RunView, worker: str, test: str) -> tuple[Activity, ...]:
    """What a test left changed in its process."""
    return tuple(
        activity
        for activity in view.record.activities
        if activity.kind in CHANGES and activity.worker == worker and activity.test == test
    )


def claims(view: RunView) -> Iterator[Finding]:
    """Without a rerun: a test was seen leaving something, or an earlier one changed what the failing lines refer to."""
    found: dict[tuple[str, str], tuple[tuple[Activity, ...], list[Failure]]] = {}
    for failure in view.failures:
        if failure.error.kind == LEAK_FAILURE:
            yield _left_behind(view, failure)
        elif changed := _changed_before(view, failure):
            polluter = str(changed[0].test)
            found.setdefault((polluter, what(changed[0])), (changed, []))[1].append(failure)
    for (polluter, left), (changed, failures) in found.items():
        yield Finding(
            cause=Cause.POLLUTION,
            title=f"{failures[0].test} fails after {polluter}, which left {left}",
            confidence=0.6,
            tests=tuple(dict.fromkeys(failure.test for failure in failures)),
            evidence=tuple(_changed(activity) for activity in changed),
            remedy=_remedy(polluter, changed),
            polluter=polluter,
        )


def _changed_before(view: RunView, failure: Failure) -> tuple[Activity, ...]:
    """What the last of the earlier tests that changed what the failing lines refer to did to it.

    It is an earlier one of them if that has left a thread: what a thread does is seen in every test after it.
    """
    changing = [
        (run, changed)
        for run in reversed(view.tests_before(failure.run))
        if (changed := tuple(one for one in changes_of(view, run.worker, run.test) if _refers(failure, one)))
    ]
    threads = {(leak.worker, leak.test) for leak in view.record.leaks if leak.kind == "threads"}
    with_thread = [changed for run, changed in changing if (run.worker, run.test) in threads]
    return with_thread[0] if with_thread else changing[0][1] if changing else ()


def was_left_changed(view: RunView, failure: Failure) -> bool:
    """Whether an earlier test of its process was seen to leave anything behind."""
    return any(changes_of(view, run.worker, run.test) or view.leaks_of(run) for run in view.tests_before(failure.run))


def _left_behind(view: RunView, failure: Failure) -> Finding:
    leaks = [leak for leak in view.record.leaks if (leak.test, leak.worker) == (failure.test, failure.worker)]
    kinds = " and ".join(dict.fromkeys(leak.kind for leak in leaks)) or "something"
    return Finding(
        cause=Cause.POLLUTION,
        title=f"{failure.test} left {kinds} behind",
        confidence=0.95,
        tests=(failure.test,),
        evidence=tuple(
            Evidence(
                text=f"{leak.kind}: {leak.description}",
                at=leak.at,
                worker=leak.worker,
                test=leak.test,
                source=leak.source,
            )
            for leak in leaks
        ),
        remedy=f"End or put back in {failure.test}, or in a fixture of it, what it made; if it has to stay, say why: "
        "`@muster.allow_leaks(..., why=...)`.",
        polluter=failure.test,
    )


def found(view: RunView, failures: Sequence[Failure], search: Search, history: Sequence[TestRun]) -> Finding:
    """A search that saw the victim pass alone and fail after its polluter."""
    victim = failures[0]
    polluter = search.polluters[-1]
    changed = [activity for test in search.polluters for activity in changes_of(view, victim.worker, test)]
    related = [activity for activity in changed if _refers(victim, activity)]
    together = " and ".join(search.polluters)
    bound = ceil(log2(len(history))) + 2 if len(history) > 1 else 2
    evidence = [
        Evidence(text=f"{victim.test} passes alone", test=victim.test),
        Evidence(text=f"{victim.test} fails after {together}, in one process", test=polluter),
        Evidence(
            text=f"found with {search.runs} reruns among the {len(history)} tests that ran before it on "
            f"{victim.worker} (one polluter takes at most {bound})",
            worker=victim.worker,
        ),
        *(_changed(activity) for activity in (related or changed)[:5]),
    ]
    left = f", which left {what((related or changed)[0])}" if changed else ""
    return Finding(
        cause=Cause.POLLUTION,
        title=f"{victim.test} fails after {together}{left}",
        confidence=0.95 if related else 0.92 if changed else 0.88,
        tests=tuple(dict.fromkeys(failure.test for failure in failures)),
        evidence=tuple(evidence),
        remedy=_remedy(together, related or changed),
        polluter=polluter,
        reruns=search.runs,
    )


def what(activity: Activity) -> str:
    """What was left changed."""
    details = activity.details
    match activity.kind:
        case "global":
            return f"`{details.get('module')}.{details.get('name')}` changed"
        case "environ":
            return f"the environment variable {details.get('name')} {details.get('now')}"
        case _:
            return f"the working directory at {details.get('now')}"


def _thing(activity: Activity) -> str:
    """What has to be put back."""
    details = activity.details
    match activity.kind:
        case "global":
            return f"`{details.get('module')}.{details.get('name')}`"
        case "environ":
            return f"the environment variable {details.get('name')}"
        case _:
            return "the working directory"


def _changed(activity: Activity) -> Evidence:
    was, now = activity.details.get("was"), activity.details.get("now")
    how = f" ({was}, then {now})" if was != now else ""
    return Evidence(
        text=f"{activity.test} left {what(activity)}{how}", at=activity.at, worker=activity.worker, test=activity.test
    )


def _refers(failure: Failure, activity: Activity) -> bool:
    if activity.kind == "global":
        name = f"{activity.details.get('module')}.{activity.details.get('name')}"
        return any(name == known or name.startswith(f"{known}.") for known in failure.error.globals)
    return activity.kind == "cwd" and failure.error.errno is not None


def _remedy(polluter: str, changed: Sequence[Activity]) -> str:
    things = ", ".join(dict.fromkeys(_thing(activity) for activity in changed[:3]))
    return f"Let {polluter} put back {things or 'what it changes'}, for instance with `monkeypatch` or in a fixture."
