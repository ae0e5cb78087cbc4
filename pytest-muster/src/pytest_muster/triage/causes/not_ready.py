"""Something is used before it is ready: it works later, or after a pause between set-up and use."""

from collections.abc import Iterator, Sequence

from pytest_muster.records.run_record import Activity
from pytest_muster.triage.causes.outage import looks_gone
from pytest_muster.triage.findings import Cause, Evidence, Finding
from pytest_muster.triage.run_view import Failure, RunView, Target

REMEDY = "Wait in the set-up until it answers (`wait_until(..., timeout=...)`), rather than in each test."


def claims(view: RunView) -> Iterator[Finding]:
    """Every use of a target fails before a moment, and none after it."""
    passed = {(run.worker, run.test) for run in view.passed}
    by_target: dict[Target, list[Failure]] = {}
    for failure in view.failures:
        for target in view.targets_of(failure):
            by_target.setdefault(target, []).append(failure)
    for target, failures in by_target.items():
        uses = view.by_target.get(target, ())
        good = [access for access in uses if (access.worker, str(access.activity.test)) in passed]
        if not good or not all(map(looks_gone, failures)):
            continue
        if all(failure.at < access.at for failure in failures for access in good):
            shown = view.display_name(target)
            yield Finding(
                cause=Cause.NOT_READY,
                title=f"{shown} was used before it was ready",
                confidence=0.75,
                tests=tuple(dict.fromkeys(failure.test for failure in failures)),
                evidence=(
                    _failed(view, failures[-1], f"the last of {len(failures)} uses that failed"),
                    Evidence(
                        text=f"all {len(good)} uses after it passed, the first at {view.elapsed(good[0].at)}",
                        at=good[0].at,
                        worker=good[0].worker,
                        test=good[0].activity.test,
                    ),
                ),
                remedy=REMEDY,
                resource=shown,
            )


def passes_after_delay(
    view: RunView, failures: Sequence[Failure], *, pause: float, reruns: int, alone_failed: bool
) -> Finding:
    """With a pause after the set-up the test passes, without it fails."""
    first = failures[0]
    evidence = [_failed(view, first, first.error.kind)]
    if alone_failed:
        evidence.append(Evidence(text="it failed again when it ran alone, so other tests have no part in it"))
    evidence.append(
        Evidence(text=f"it passed alone with a pause of {pause:g} s after the set-up of each fixture", test=first.test)
    )
    return Finding(
        cause=Cause.NOT_READY,
        title=f"{first.source or first.test} uses what the set-up started before it is ready",
        confidence=0.93 if alone_failed else 0.8,
        tests=tuple(dict.fromkeys(failure.test for failure in failures)),
        evidence=tuple(evidence),
        remedy=REMEDY,
        reruns=reruns,
    )


def succeeds_on_retry(view: RunView, failures: Sequence[Failure], again: Activity, *, reruns: int) -> Finding:
    """A call that raised in the test answered later, and only later."""
    first = failures[0]
    error, pause = again.details.get("error"), again.details.get("pause")
    phase = {"setup": "set-up", "call": "body"}.get(again.phase, again.phase)
    return Finding(
        cause=Cause.NOT_READY,
        title=f"`{again.function}` is asked in the {phase} of {first.test} before it can answer",
        confidence=0.93,
        tests=tuple(dict.fromkeys(failure.test for failure in failures)),
        evidence=(
            _failed(view, first, first.error.kind),
            Evidence(text="it failed again when it ran alone, so other tests have no part in it", test=first.test),
            Evidence(
                text=f"`{again.function}` raised {error} in the {phase}; asked at the end of the test it raised "
                f"{error} again, asked {pause:g} s later it answered",
                test=first.test,
                source=again.source,
            ),
        ),
        remedy=f"Start what `{again.function}` needs, and wait for it, before anybody asks; a pause in tests is late.",
        resource=again.function,
        reruns=reruns,
    )


def _failed(view: RunView, failure: Failure, words: str) -> Evidence:
    return Evidence(
        text=f"{failure.test} failed at {view.elapsed(failure.at)}: {words}",
        at=failure.at,
        worker=failure.worker,
        test=failure.test,
        source=failure.source,
    )
