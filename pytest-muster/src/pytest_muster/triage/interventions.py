"""What reruns of a failed test show: alone, after a pause, after its history, beside the tests that ran beside it."""

from collections.abc import Sequence
from dataclasses import replace

from pytest_muster.triage.bisection import find_polluters
from pytest_muster.triage.causes import address_family, clash, defect, not_ready, pollution, timeout, uninitialised
from pytest_muster.triage.findings import Cause, Evidence, Finding
from pytest_muster.triage.rerun import Rerun, RerunResult
from pytest_muster.triage.run_view import Failure, RunView, failure_of

PAUSE = 2.0  # seconds; most things that start in a test suite are ready by then
FACTOR = 4.0
MAKERS = 3
"""So many tests are tried that may have made what another one lacks."""
_LOSSES = {Cause.EARLY_TEARDOWN, Cause.INFRASTRUCTURE_GONE}
LONGEST = 60.0  # seconds that a test may take with all its limits so many times as long


class Interventions:
    def __init__(self, view: RunView, rerun: Rerun, claims: Sequence[Finding] = ()) -> None:
        self.view = view
        self.rerun = rerun
        self.claims = claims
        """What the record alone lets one say, not yet surely."""

    def explain(self, group: Sequence[Failure]) -> list[Finding]:
        """What the reruns of the first of these failures, which look alike, let one claim about all of them."""
        victim = group[0]
        since = self.rerun.runs
        alone = self.rerun.ordered([victim.test])
        fails = alone.fails(victim.test) if alone else None
        if alone is None or fails is None:
            return []
        if fails:
            return self._fails_alone(group, alone, since)
        return self._passes_alone(group, alone, since)

    def _fails_alone(self, group: Sequence[Failure], alone: RerunResult, since: int) -> list[Finding]:
        for experiment in (self._crossing, self._patience, self._settling, self._asking, self._made_elsewhere):
            found = experiment(group, alone, since)
            if found:
                return [found]
        victim = group[0]
        error = alone.error(victim.test)
        same = error is not None and error.kind == victim.error.kind and error.frames[-1:] == victim.error.frames[-1:]
        return [defect.seen_alone(group, reruns=self.rerun.runs - since, same_place=same)]

    def _crossing(self, group: Sequence[Failure], alone: RerunResult, since: int) -> Finding | None:
        victim = group[0]
        call = address_family.calls_this_machine(self.view, victim)
        if call is None or not self._passes(victim, "--muster-swap-address-family"):
            return None
        return address_family.swapped(group, call, reruns=self.rerun.runs - since)

    def _patience(self, group: Sequence[Failure], alone: RerunResult, since: int) -> Finding | None:
        victim = group[0]
        run = alone.tests[victim.test]
        before = timeout.took(failure_of(run))
        if before < timeout.WAITED or before * FACTOR > LONGEST:
            return None
        patient = self.rerun.ordered([victim.test], f"--muster-timeout-factor={FACTOR:g}")
        again = patient.tests.get(victim.test) if patient else None
        if again is None:
            return None
        after = timeout.took(failure_of(again)) if again.failed else again.took
        passed = not again.failed
        if passed and self._settling(group, alone, since):
            return None
        if not passed and after < 0.6 * FACTOR * before:
            return None
        used = self.rerun.runs - since
        return timeout.tried(self.view, group, factor=FACTOR, before=before, after=after, passed=passed, reruns=used)

    def _settling(self, group: Sequence[Failure], alone: RerunResult, since: int) -> Finding | None:
        if not self._passes(group[0], f"--muster-settle={PAUSE:g}"):
            return None
        return not_ready.passes_after_delay(
            self.view, group, pause=PAUSE, reruns=self.rerun.runs - since, alone_failed=True
        )

    def _asking(self, group: Sequence[Failure], alone: RerunResult, since: int) -> Finding | None:
        verdict = self.rerun.ordered([group[0].test], f"--muster-retry-probe={PAUSE:g}")
        activities = verdict.record.activities if verdict else ()
        again = next((activity for activity in activities if activity.kind == "retry_succeeded"), None)
        if again is None:
            return None
        return not_ready.succeeds_on_retry(self.view, group, again, reruns=self.rerun.runs - since)

    def _passes(self, victim: Failure, *changed: str) -> bool:
        """Whether the test passes alone, with these options."""
        verdict = self.rerun.ordered([victim.test], *changed)
        return verdict is not None and verdict.fails(victim.test) is False

    def _made_elsewhere(self, group: Sequence[Failure], alone: RerunResult, since: int) -> Finding | None:
        """Whether the test passes on the first worker of a run, or after the test that made what it lacks."""
        victim = group[0]
        names = uninitialised.suspects(self.view, group) if self.view.is_parallel else ()
        if not names:
            return None
        first = self.rerun.on_first_worker([victim.test])
        if first is not None and first.fails(victim.test) is False:
            name = _set_in(first, names) or names[0]
            shown = f"{victim.test} fails without a worker and passes on the first one, where `{name}` is set"
            used = self.rerun.runs - since
            return uninitialised.confirmed(self.view, name, group, shown, reruns=used)
        for name, maker in uninitialised.makers(self.view, names)[:MAKERS]:
            after = self.rerun.ordered([maker, victim.test])
            if after is not None and after.fails(victim.test) is False:
                shown = f"{victim.test} fails alone and passes after {maker}, which sets `{name}`"
                used = self.rerun.runs - since
                return uninitialised.confirmed(self.view, name, group, shown, reruns=used)
        return None

    def _passes_alone(self, group: Sequence[Failure], alone: RerunResult, since: int) -> list[Finding]:
        victim = group[0]
        view = self.view
        supported = self._supported(group, since)
        if supported:
            return supported
        if view.is_parallel:
            name = _set_in(alone, uninitialised.suspects(view, group))
            if name:
                shown = f"{victim.test} passes alone, where `{name}` is set"
                used = self.rerun.runs - since
                return [uninitialised.confirmed(view, name, group, shown, reruns=used)]
            met = [meetings[0] for failure in group if (meetings := clash.meetings(view, failure))]
            if met:
                found = self._beside(group, met, since)
                if found:
                    return found
        return self._after_history(group)

    def _supported(self, group: Sequence[Failure], since: int) -> list[Finding]:
        """What was said of lost things is surer now: the test alone has them, and passes."""
        said = [one for one in self.claims if one.cause in _LOSSES and group[0].test in one.tests]
        shown = Evidence(text=f"{group[0].test} passes alone", test=group[0].test)
        used = self.rerun.runs - since
        return [
            replace(one, confidence=min(one.confidence + 0.15, 0.95), evidence=(*one.evidence, shown), reruns=used)
            for one in said[:1]
        ]

    def _beside(self, group: Sequence[Failure], met: Sequence[clash.Meeting], since: int) -> list[Finding]:
        """Passes alone and after its history; fails beside the tests that it met."""
        victim = met[0].failure
        history = [run.test for run in self.view.tests_before(victim.run)]
        if history:
            after = self.rerun.ordered([*history, victim.test])
            if after is None or after.fails(victim.test) is not False:
                return []
        shown = [f"{victim.test} passes alone" + (" and after all that ran before it on its worker" if history else "")]
        tests = dict.fromkeys([*(meeting.failure.test for meeting in met), *(t for one in met for t in one.tests)])
        failing = {failure.test for failure in group}
        sure = False
        for _ in range(2):
            beside = self.rerun.side_by_side(list(tests), workers=2)
            again = [test for test in tests if test in failing and beside and beside.fails(test)]
            if again:
                shown.append(f"{again[0]} failed again beside {len(tests) - 1} tests that had met it, on 2 workers")
                sure = True
                break
        else:
            beside = self.rerun.side_by_side(self.view.tests, workers=len(self.view.workers))
            again = [test for test in failing if beside and beside.fails(test)]
            if again:
                shown.append(f"{again[0]} failed again when all tests ran on {len(self.view.workers)} workers")
        if len(shown) == 1:
            return []  # nobody has seen it again
        used = self.rerun.runs - since
        return [clash.confirmed(self.view, met, shown=shown, reruns=used, sure=sure)]

    def _after_history(self, group: Sequence[Failure]) -> list[Finding]:
        victim = group[0]
        history = self.view.tests_before(victim.run)

        def fails(tests: tuple[str, ...]) -> bool | None:
            verdict = self.rerun.ordered([*tests, victim.test])
            return verdict.fails(victim.test) if verdict else None

        search = find_polluters([run.test for run in history], fails)
        if not search.polluters:
            return []
        return [pollution.found(self.view, group, search, history)]


def _set_in(verdict: RerunResult, names: Sequence[str]) -> str | None:
    """The first of these variables that was set in a rerun."""
    kinds = uninitialised.kinds_by_worker(RunView(verdict.record))
    return next((name for name in names if any(map(uninitialised.is_set, kinds.get(name, {}).values()))), None)
