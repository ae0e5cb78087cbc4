"""A worker uses what only another worker's set-up made."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from pytest_muster.triage.findings import Cause, Evidence, Finding
from pytest_muster.triage.run_view import Failure, RunView

REMEDY = (
    "Make it in every worker, for instance in a session fixture without a condition on the worker, from plain data "
    "that the shared set-up hands over."
)


def claims(view: RunView) -> Iterator[Finding]:
    """One finding for each variable that is set on some workers and missing on those whose tests fail."""
    if not view.is_parallel:
        return
    kinds = kinds_by_worker(view)
    by_name: dict[str, list[Failure]] = {}
    for failure in view.failures:
        for name in missing(view, failure, kinds)[:1]:
            by_name.setdefault(name, []).append(failure)
    for name, failures in by_name.items():
        yield _finding(view, name, failures, kinds)


def suspects(view: RunView, failures: Sequence[Failure]) -> tuple[str, ...]:
    """Variables that could be behind these failures although nothing in their errors is None or empty.

    They were never set on the workers where these tests failed, and set where tests passed and none of these failed.
    """
    failing = {failure.worker for failure in failures}
    passing = {run.worker for run in view.passed} - failing
    found = []
    for name, by_worker in kinds_by_worker(view).items():
        having = {worker for worker, kind in by_worker.items() if is_set(kind)}
        if having and having <= passing and not having & failing and _is_known(name, by_worker, view, failing):
            found.append(name)
    # What holds others comes before what it holds.
    return tuple(sorted(found, key=lambda name: (name.count("."), name)))


def setters(view: RunView, names: Sequence[str]) -> list[tuple[str, str]]:
    """Variables, and the tests with which they were set."""
    found: dict[str, str] = {}
    for activity in view.record.activities:
        details = activity.details
        if activity.kind == "global" and activity.test is not None:
            name = f"{details.get('module')}.{details.get('name')}"
        elif activity.kind == "env" and details.get("action") == "set" and activity.test is not None:
            name = f"{ENVIRON}{details.get('name')}"
        else:
            continue
        if name in names:
            found.setdefault(name, activity.test)
    return [(name, found[name]) for name in names if name in found]


def confirmed(view: RunView, name: str, failures: Sequence[Failure], shown: str, *, reruns: int) -> Finding:
    """A rerun in which the variable was set passed."""
    claim = _finding(view, name, list(failures), kinds_by_worker(view))
    return replace(
        claim,
        confidence=max(claim.confidence, 0.88),
        evidence=(*claim.evidence, Evidence(text=shown, test=failures[0].test)),
        reruns=reruns,
    )


def is_set(kind: str | None) -> bool:
    return kind is not None and kind != "None" and kind != "missing" and not kind.startswith("empty ")


ENVIRON = "os.environ."


def kinds_by_worker(view: RunView) -> dict[str, dict[str, str]]:
    """Variable → worker → the kind of what it held there; what was set at any moment counts as set."""
    found: dict[str, dict[str, str]] = {}

    def learn(name: str, worker: str, kind: str) -> None:
        known = found.setdefault(name, {})
        if not is_set(known.get(worker)):
            known[worker] = kind

    for line in view.record.globals:
        for name, kind in line.names.items():
            learn(f"{line.module}.{name}", line.worker, kind)
    for failure in view.failures:
        for name, kind in failure.error.globals.items():
            learn(name, failure.worker, kind)
    for activity in view.record.activities:
        if activity.kind == "global":
            name = f"{activity.details.get('module')}.{activity.details.get('name')}"
            learn(name, activity.worker, str(activity.details.get("was")))
            learn(name, activity.worker, str(activity.details.get("now")))
        elif activity.kind == "env" and activity.details.get("action") == "set":
            learn(f"{ENVIRON}{activity.details.get('name')}", activity.worker, "str")
    return found


def _is_known(name: str, by_worker: Mapping[str, str], view: RunView, workers: Collection[str]) -> bool:
    """Whether these workers could have had the variable: its module is loaded there."""
    if name.startswith(ENVIRON) or set(workers) <= set(by_worker):
        return True
    loaded = {(line.worker, line.module) for line in view.record.globals}
    return all(any(name.startswith(f"{module}.") for on, module in loaded if on == worker) for worker in workers)


def missing(view: RunView, failure: Failure, kinds: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Variables that this failure can be about: never set on its worker, set on another. The likeliest first."""
    error = failure.error
    if not (error.none or error.none_names or error.empty_names or _lacks(error.globals)):
        return []
    scored: list[tuple[int, bool, str]] = []
    for name, by_worker in kinds.items():
        if is_set(by_worker.get(failure.worker)) or not any(map(is_set, by_worker.values())):
            continue
        if not _is_known(name, by_worker, view, [failure.worker]):
            continue
        short = name.rpartition(".")[2]
        referred = name in error.globals
        named = any(short == one.rpartition(".")[2] for one in (*error.none_names, *error.empty_names))
        about_none = error.none or bool(error.none_names or error.empty_names)
        score = 4 * referred + 2 * named + about_none
        if score:
            scored.append((-score, not _fits(failure, by_worker.get(failure.worker)), name))
    return [name for *_, name in sorted(scored)]


def _fits(failure: Failure, kind: str | None) -> bool:
    """Whether what a variable holds is what the error tells of: None, or something empty.

    What tests put into a list as they pass is empty where they fail, and says nothing of why.
    """
    error = failure.error
    if kind == "None":
        return error.none or bool(error.none_names)
    return bool(error.empty_names) and kind is not None and kind.startswith("empty ")


def _lacks(variables: Mapping[str, str]) -> bool:
    return any(not is_set(kind) for kind in variables.values())


def _finding(view: RunView, name: str, failures: list[Failure], kinds: Mapping[str, Mapping[str, str]]) -> Finding:
    by_worker = kinds[name]
    having = sorted(worker for worker, kind in by_worker.items() if is_set(kind))
    lacking = sorted({failure.worker for failure in failures})
    first = failures[0]
    referred = sum(name in failure.error.globals for failure in failures)
    passed = [run for run in view.passed if run.worker in having]
    quick = sum(_took(failure) < 0.1 for failure in failures)
    evidence = [
        Evidence(
            text=f"`{name}` is {by_worker.get(failure.worker, 'not there')} on {failure.worker}",
            at=failure.at,
            worker=failure.worker,
            test=failure.test,
            source=failure.source,
        )
        for failure in {failure.worker: failure for failure in reversed(failures)}.values()
    ]
    evidence += [
        Evidence(text=f"`{name}` holds {_article(by_worker[worker])} on {worker}", worker=worker) for worker in having
    ]
    if passed:
        evidence.append(
            Evidence(
                text=f"{len(passed)} tests passed on {' and '.join(having)}, for instance {passed[0].test}",
                worker=passed[0].worker,
                test=passed[0].test,
            )
        )
    evidence.append(Evidence(text=f"{quick} of {len(failures)} such tests failed within 0.1 s"))
    for activity in view.record.activities:
        if activity.kind == "global" and f"{activity.details.get('module')}.{activity.details.get('name')}" == name:
            text = f"`{name}` was made on {activity.worker} with {activity.test}"
            evidence.append(Evidence(text=text, at=activity.at, worker=activity.worker, test=activity.test))
            break
    telling = referred or (first.error.none and len(lacking) > 1)
    confidence = 0.75 + 0.1 * (referred > 0) + 0.05 * bool(passed) + 0.05 * (len(lacking) > 1 or len(failures) > 2)
    confidence -= 0.0 if telling else 0.1
    return Finding(
        cause=Cause.UNINITIALISED,
        title=f"`{name}` is set on {_list(having)} only; tests on {_list(lacking)} use it all the same",
        confidence=min(confidence, 0.97),
        tests=tuple(dict.fromkeys(failure.test for failure in failures)),
        evidence=tuple(evidence),
        remedy=f"`{name}`: {REMEDY} It failed first in {first.source or first.test}.",
    )


def _took(failure: Failure) -> float:
    phase = failure.run.phases.get(failure.error.phase or "call")
    return phase.took if phase else failure.run.took


def _article(kind: str) -> str:
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"


def _list(names: list[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)
