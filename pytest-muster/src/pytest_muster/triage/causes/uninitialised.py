"""A worker uses what only another worker's set-up made."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from pytest_muster.triage.findings import Cause, Evidence, Finding
from pytest_muster.triage.scene import Failure, Scene

REMEDY = (
    "Make it in every worker, for instance in a session fixture without a condition on the worker, from plain data "
    "that the shared set-up hands over."
)


def claims(scene: Scene) -> Iterator[Finding]:
    """One finding for each variable that is set on some workers and missing on those whose tests fail."""
    if not scene.is_parallel:
        return
    kinds = kinds_by_worker(scene)
    by_name: dict[str, list[Failure]] = {}
    for failure in scene.failures:
        for name in missing(scene, failure, kinds)[:1]:
            by_name.setdefault(name, []).append(failure)
    for name, failures in by_name.items():
        yield _finding(scene, name, failures, kinds)


def suspects(scene: Scene, failures: Sequence[Failure]) -> tuple[str, ...]:
    """Variables that could be behind these failures although nothing in their errors is None or empty.

    They were never set on the workers where these tests failed, and set where tests passed and none of these failed.
    """
    failing = {failure.worker for failure in failures}
    passing = {run.worker for run in scene.passed} - failing
    found = []
    for name, by_worker in kinds_by_worker(scene).items():
        having = {worker for worker, kind in by_worker.items() if is_set(kind)}
        if having and having <= passing and not having & failing and _is_known(name, by_worker, scene, failing):
            found.append(name)
    # What holds others comes before what it holds.
    return tuple(sorted(found, key=lambda name: (name.count("."), name)))


def makers(scene: Scene, names: Sequence[str]) -> list[tuple[str, str]]:
    """Variables, and the tests with which they were set."""
    found: dict[str, str] = {}
    for fact in scene.record.facts:
        details = fact.details
        if fact.kind == "global" and fact.test is not None:
            name = f"{details.get('module')}.{details.get('name')}"
        elif fact.kind == "env" and details.get("action") == "set" and fact.test is not None:
            name = f"{ENVIRON}{details.get('name')}"
        else:
            continue
        if name in names:
            found.setdefault(name, fact.test)
    return [(name, found[name]) for name in names if name in found]


def confirmed(scene: Scene, name: str, failures: Sequence[Failure], shown: str, *, reruns: int) -> Finding:
    """A rerun in which the variable was set passed."""
    claim = _finding(scene, name, list(failures), kinds_by_worker(scene))
    return replace(
        claim,
        confidence=max(claim.confidence, 0.88),
        evidence=(*claim.evidence, Evidence(text=shown, test=failures[0].test)),
        reruns=reruns,
    )


def is_set(kind: str | None) -> bool:
    return kind is not None and kind != "None" and kind != "missing" and not kind.startswith("empty ")


ENVIRON = "os.environ."


def kinds_by_worker(scene: Scene) -> dict[str, dict[str, str]]:
    """Variable → worker → the kind of what it held there; what was set at any moment counts as set."""
    found: dict[str, dict[str, str]] = {}

    def learn(name: str, worker: str, kind: str) -> None:
        known = found.setdefault(name, {})
        if not is_set(known.get(worker)):
            known[worker] = kind

    for line in scene.record.globals:
        for name, kind in line.names.items():
            learn(f"{line.module}.{name}", line.worker, kind)
    for failure in scene.failures:
        for name, kind in failure.error.globals.items():
            learn(name, failure.worker, kind)
    for fact in scene.record.facts:
        if fact.kind == "global":
            name = f"{fact.details.get('module')}.{fact.details.get('name')}"
            learn(name, fact.worker, str(fact.details.get("was")))
            learn(name, fact.worker, str(fact.details.get("now")))
        elif fact.kind == "env" and fact.details.get("action") == "set":
            learn(f"{ENVIRON}{fact.details.get('name')}", fact.worker, "str")
    return found


def _is_known(name: str, by_worker: Mapping[str, str], scene: Scene, workers: Collection[str]) -> bool:
    """Whether these workers could have had the variable: its module is loaded there."""
    if name.startswith(ENVIRON) or set(workers) <= set(by_worker):
        return True
    loaded = {(line.worker, line.module) for line in scene.record.globals}
    return all(any(name.startswith(f"{module}.") for on, module in loaded if on == worker) for worker in workers)


def missing(scene: Scene, failure: Failure, kinds: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Variables that this failure can be about: never set on its worker, set on another. The likeliest first."""
    error = failure.error
    if not (error.none or error.none_names or error.empty_names or _lacks(error.globals)):
        return []
    scored: list[tuple[int, str]] = []
    for name, by_worker in kinds.items():
        if is_set(by_worker.get(failure.worker)) or not any(map(is_set, by_worker.values())):
            continue
        if not _is_known(name, by_worker, scene, [failure.worker]):
            continue
        short = name.rpartition(".")[2]
        referred = name in error.globals
        named = any(short == one.rpartition(".")[2] for one in (*error.none_names, *error.empty_names))
        about_none = error.none or bool(error.none_names or error.empty_names)
        score = 4 * referred + 2 * named + about_none
        if score:
            scored.append((-score, name))
    return [name for _, name in sorted(scored)]


def _lacks(variables: Mapping[str, str]) -> bool:
    return any(not is_set(kind) for kind in variables.values())


def _finding(scene: Scene, name: str, failures: list[Failure], kinds: Mapping[str, Mapping[str, str]]) -> Finding:
    by_worker = kinds[name]
    having = sorted(worker for worker, kind in by_worker.items() if is_set(kind))
    lacking = sorted({failure.worker for failure in failures})
    first = failures[0]
    referred = sum(name in failure.error.globals for failure in failures)
    passed = [run for run in scene.passed if run.worker in having]
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
    for fact in scene.record.facts:
        if fact.kind == "global" and f"{fact.details.get('module')}.{fact.details.get('name')}" == name:
            text = f"`{name}` was made on {fact.worker} with {fact.test}"
            evidence.append(Evidence(text=text, at=fact.at, worker=fact.worker, test=fact.test))
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
