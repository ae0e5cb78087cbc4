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
    for failure in view.failures:
        if failure.error.kind == LEAK_FAILURE:
            yield _left_behind(view, failure)
            continue
        for run in reversed(view.tests_before(failure.run)):
            changed = [activity for activity in changes_of(view, run.worker, run.test) if _refers(failure, activity)]
            if changed:
                yield Finding(
                    cause=Cause.POLLUTION,
                    title=f"{failure.test} fails after {run.test}, which left {what(changed[0])}",
                    confidence=0.6,
                    tests=(failure.test,),
                    evidence=tuple(_changed(activity) for activity in changed),
                    remedy=_remedy(run.test, changed),
                    polluter=run.test,
                )
                break


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
    things = ", ".join(dict.fromkeys(what(activity).removesuffix(" changed") for activity in changed[:3]))
    return f"Let {polluter} put back {things or 'what it changes'}, for instance with `monkeypatch` or in a fixture."
