"""What reruns of a failed test show: alone, after a pause, after its history, beside the tests that ran beside it."""

from collections.abc import Sequence
from dataclasses import replace

from pytest_muster.triage.bisection import find_polluters
from pytest_muster.triage.causes import (
    address_family,
    clash,
    defect,
    not_ready,
    order_dependency,
    pollution,
    timeout,
    uninitialised,
)
from pytest_muster.triage.findings import Cause, Evidence, Finding
from pytest_muster.triage.rerun import Rerun, RerunResult
from pytest_muster.triage.run_view import Failure, RunView, failure_of

DELAY = 2.0  # seconds; most things that start in a test suite are ready by then
TIMEOUT_FACTOR = 4.0
MAX_SETTERS = 3
"""So many tests are tried that may have made what another one lacks."""
_LOSSES = {Cause.EARLY_TEARDOWN, Cause.INFRASTRUCTURE_GONE}
MAX_SCALED = 60.0  # seconds that a test may take with all its limits so many times as long
MAX_SHARE_OF_TIME = 0.3  # of what is left for reruns: what the run of all tests in one process may take


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
        repeats = alone.repeats(victim, self.view) if alone else None
        if alone is None or repeats is None:
            return []
        if repeats:
            return self._fails_alone(group, alone, since)
        return self._passes_alone(group, alone, since)

    def _fails_alone(self, group: Sequence[Failure], alone: RerunResult, since: int) -> list[Finding]:
        interventions = (
            self._swapped_address_family,
            self._longer_timeouts,
            self._delayed_use,
            self._retried_calls,
            self._set_elsewhere,
            self._whole_order,
        )
        for intervene in interventions:
            found = intervene(group, alone, since)
            if found:
                return [found]
        return [defect.seen_alone(group, reruns=self.rerun.runs - since, is_tried_in_order=self._is_tried_in_order)]

    @property
    def _is_tried_in_order(self) -> bool:
        """Whether it is known how the tests end when one process runs all of them in their order."""
        return not self.view.is_parallel or self._in_order() is not None

    def _in_order(self) -> RerunResult | None:
        """All tests in one process, in the order in which they were collected; once for a triage."""
        took = sum(run.took for run in self.view.record.tests)
        if took > MAX_SHARE_OF_TIME * self.rerun.seconds_left:
            return None
        return self.rerun.ordered(self.view.collected)

    def _whole_order(self, group: Sequence[Failure], alone: RerunResult, since: int) -> Finding | None:
        """Whether the test passes when all tests run in one process, and after which of them."""
        victim = group[0]
        in_order = self._in_order() if self.view.is_parallel else None
        if in_order is None or in_order.passes(victim.test) is not True:
            return None
        earlier = self.view.collected[: self.view.collected.index(victim.test)]

        def passes(tests: tuple[str, ...]) -> bool | None:
            result = self.rerun.ordered([*tests, victim.test])
            return result.passes(victim.test) if result else None

        search = find_polluters(earlier, passes)
        return order_dependency.found(group, search.polluters, reruns=self.rerun.runs - since)

    def _swapped_address_family(self, group: Sequence[Failure], alone: RerunResult, since: int) -> Finding | None:
        victim = group[0]
        call = address_family.calls_this_machine(self.view, victim)
        if call is None or not self._passes(victim, "--muster-swap-address-family"):
            return None
        return address_family.swapped(group, call, reruns=self.rerun.runs - since)

    def _longer_timeouts(self, group: Sequence[Failure], alone: RerunResult, since: int) -> Finding | None:
        victim = group[0]
        run = alone.tests[victim.test]
        before = timeout.took(failure_of(run))
        if before < timeout.MIN_WAIT or before * TIMEOUT_FACTOR > MAX_SCALED:
            return None
        result = self.rerun.ordered([victim.test], f"--muster-timeout-factor={TIMEOUT_FACTOR:g}")
        again = result.tests.get(victim.test) if result else None
        if again is None:
            return None
        after = timeout.took(failure_of(again)) if again.failed else again.took
        passed = not again.failed
        if passed and self._delayed_use(group, alone, since):
            return None
        if not passed and after < 0.6 * TIMEOUT_FACTOR * before:
            return None
        used = self.rerun.runs - since
        return timeout.confirmed_by_scaling(
            self.view, group, factor=TIMEOUT_FACTOR, before=before, after=after, passed=passed, reruns=used
        )

    def _delayed_use(self, group: Sequence[Failure], alone: RerunResult, since: int) -> Finding | None:
        if not self._passes(group[0], f"--muster-settle={DELAY:g}"):
            return None
        return not_ready.passes_after_delay(
            self.view, group, pause=DELAY, reruns=self.rerun.runs - since, alone_failed=True
        )

    def _retried_calls(self, group: Sequence[Failure], alone: RerunResult, since: int) -> Finding | None:
        result = self.rerun.ordered([group[0].test], f"--muster-retry-probe={DELAY:g}")
        activities = result.view.record.activities if result else ()
        again = next((activity for activity in activities if activity.kind == "retry_succeeded"), None)
        if again is None:
            return None
        return not_ready.succeeds_on_retry(self.view, group, again, reruns=self.rerun.runs - since)

    def _passes(self, victim: Failure, *changed: str) -> bool:
        """Whether the test passes alone, with these options."""
        result = self.rerun.ordered([victim.test], *changed)
        return result is not None and result.passes(victim.test) is True

    def _set_elsewhere(self, group: Sequence[Failure], alone: RerunResult, since: int) -> Finding | None:
        """Whether the test passes on the first worker of a run, or after the test that made what it lacks."""
        victim = group[0]
        names = uninitialised.suspects(self.view, group) if self.view.is_parallel else ()
        if not names:
            return None
        first = self.rerun.on_first_worker([victim.test])
        if first is not None and first.passes(victim.test) is True:
            name = _set_in(first, names) or names[0]
            shown = f"{victim.test} fails without a worker and passes on the first one, where `{name}` is set"
            used = self.rerun.runs - since
            return uninitialised.confirmed(self.view, name, group, shown, reruns=used)
        for name, maker in uninitialised.setters(self.view, names)[:MAX_SETTERS]:
            after = self.rerun.ordered([maker, victim.test])
            if after is not None and after.passes(victim.test) is True:
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
        """A claim about lost things is surer now: the test alone has them, and passes."""
        claimed = [one for one in self.claims if one.cause in _LOSSES and group[0].test in one.tests]
        shown = Evidence(text=f"{group[0].test} passes alone", test=group[0].test)
        used = self.rerun.runs - since
        return [
            replace(one, confidence=min(one.confidence + 0.15, 0.95), evidence=(*one.evidence, shown), reruns=used)
            for one in claimed[:1]
        ]

    def _beside(self, group: Sequence[Failure], met: Sequence[clash.Meeting], since: int) -> list[Finding]:
        """Passes alone and after its history; fails beside the tests that it met."""
        victim = met[0].failure
        history = [run.test for run in self.view.tests_before(victim.run)]
        if history:
            after = self.rerun.ordered([*history, victim.test])
            if after is None or after.passes(victim.test) is not True:
                return []
        shown = [f"{victim.test} passes alone" + (" and after all that ran before it on its worker" if history else "")]
        tests = dict.fromkeys([*(meeting.failure.test for meeting in met), *(t for one in met for t in one.tests)])
        failing = {failure.test: failure for failure in group}
        sure = False
        for _ in range(2):
            beside = self.rerun.side_by_side(list(tests), workers=2)
            again = [test for test in tests if test in failing and beside and beside.repeats(failing[test], self.view)]
            if again:
                shown.append(f"{again[0]} failed again beside {len(tests) - 1} tests that had met it, on 2 workers")
                sure = True
                break
        else:
            beside = self.rerun.side_by_side(self.view.tests, workers=len(self.view.workers))
            again = [test for test in failing if beside and beside.repeats(failing[test], self.view)]
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
            result = self.rerun.ordered([*tests, victim.test])
            return result.repeats(victim, self.view) if result else None

        search = find_polluters([run.test for run in history], fails)
        if not search.polluters:
            return []
        return [pollution.found(self.view, group, search, history)]


def _set_in(result: RerunResult, names: Sequence[str]) -> str | None:
    """The first of these variables that was set in a rerun."""
    kinds = uninitialised.kinds_by_worker(result.view)
    return next((name for name in names if any(map(uninitialised.is_set, kinds.get(name, {}).values()))), None)
