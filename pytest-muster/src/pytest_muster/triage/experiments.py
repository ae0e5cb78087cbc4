"""What reruns of a failed test show: alone, after a pause, after its history, beside the tests that ran beside it."""

from collections.abc import Sequence

from pytest_muster.triage.bisection import find_polluters
from pytest_muster.triage.causes import clash, defect, early, pollution, uninitialised
from pytest_muster.triage.findings import Finding
from pytest_muster.triage.rerun import Rerun, Verdict
from pytest_muster.triage.scene import Failure, Scene

PAUSE = 2.0  # seconds; most things that start in a test suite are ready by then


class Experiments:
    def __init__(self, scene: Scene, rerun: Rerun) -> None:
        self.scene = scene
        self.rerun = rerun

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

    def _fails_alone(self, group: Sequence[Failure], alone: Verdict, since: int) -> list[Finding]:
        victim = group[0]
        settled = self.rerun.ordered([victim.test], settle=PAUSE)
        if settled is not None and settled.fails(victim.test) is False:
            used = self.rerun.runs - since
            return [early.settled(self.scene, group, pause=PAUSE, reruns=used, alone_failed=True)]
        made = self._made_elsewhere(group, since)
        if made:
            return made
        error = alone.error(victim.test)
        same = error is not None and error.kind == victim.error.kind and error.frames[-1:] == victim.error.frames[-1:]
        return [defect.seen_alone(group, reruns=self.rerun.runs - since, same_place=same)]

    def _made_elsewhere(self, group: Sequence[Failure], since: int) -> list[Finding]:
        """Whether the test passes on the first worker of a run, or after the test that made what it lacks."""
        victim = group[0]
        names = uninitialised.suspects(self.scene, group) if self.scene.is_parallel else ()
        if not names:
            return []
        first = self.rerun.on_first_worker([victim.test])
        if first is not None and first.fails(victim.test) is False:
            name = _set_in(first, names) or names[0]
            shown = f"{victim.test} fails without a worker and passes on the first one, where `{name}` is set"
            used = self.rerun.runs - since
            return [uninitialised.confirmed(self.scene, name, group, shown, reruns=used)]
        return []

    def _passes_alone(self, group: Sequence[Failure], alone: Verdict, since: int) -> list[Finding]:
        victim = group[0]
        scene = self.scene
        if scene.is_parallel:
            name = _set_in(alone, uninitialised.suspects(scene, group))
            if name:
                shown = f"{victim.test} passes alone, where `{name}` is set"
                used = self.rerun.runs - since
                return [uninitialised.confirmed(scene, name, group, shown, reruns=used)]
            met = [meetings[0] for failure in group if (meetings := clash.meetings(scene, failure))]
            if met:
                found = self._beside(group, met, since)
                if found:
                    return found
        return self._after_history(group)

    def _beside(self, group: Sequence[Failure], met: Sequence[clash.Meeting], since: int) -> list[Finding]:
        """Passes alone and after its history; fails beside the tests that it met."""
        victim = met[0].failure
        history = [run.test for run in self.scene.before(victim.run)]
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
            beside = self.rerun.side_by_side(self.scene.tests, workers=len(self.scene.workers))
            again = [test for test in failing if beside and beside.fails(test)]
            if again:
                shown.append(f"{again[0]} failed again when all tests ran on {len(self.scene.workers)} workers")
                sure = True
        used = self.rerun.runs - since
        return [clash.confirmed(self.scene, met, shown=shown, reruns=used, sure=sure)]

    def _after_history(self, group: Sequence[Failure]) -> list[Finding]:
        victim = group[0]
        history = self.scene.before(victim.run)

        def fails(tests: tuple[str, ...]) -> bool | None:
            verdict = self.rerun.ordered([*tests, victim.test])
            return verdict.fails(victim.test) if verdict else None

        search = find_polluters([run.test for run in history], fails)
        if not search.polluters:
            return []
        return [pollution.found(self.scene, group, search, history)]


def _set_in(verdict: Verdict, names: Sequence[str]) -> str | None:
    """The first of these variables that was set in a rerun."""
    kinds = uninitialised.kinds_by_worker(Scene(verdict.record))
    return next((name for name in names if any(map(uninitialised.is_set, kinds.get(name, {}).values()))), None)
