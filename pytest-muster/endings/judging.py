"""Says what was wrong with an ending. What a way promises is written here, in one place."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain

from endings.running import Seen
from endings.ways import SIGNALS, SUDDEN, Case, Way
from pytest_muster.exits import ExitCode
from pytest_muster.records.journal import read

EXITS: dict[Way, set[int]] = {
    Way.NORMAL: {0},
    Way.FAILURES: {1},
    Way.EXIT_FIRST: {1, 2},  # pytest says 1, xdist says 2
    Way.MAX_FAIL: {1, 2},
    Way.WORKER_EXITS: {1},
    Way.WORKER_KILLED: {1},
    Way.WORKER_KILLED_EVER: {0, 1, ExitCode.INFRASTRUCTURE},
    Way.WORKER_KILLED_SET_UP: {1},
    Way.WORKER_KILLED_TEARDOWN: {0, 1, ExitCode.INFRASTRUCTURE},
    Way.INTERRUPT_GROUP: {2},
    Way.INTERRUPT_GROUP_TWICE: {2},
    Way.INTERRUPT: {2},
    Way.INTERRUPT_TWICE: {2},
    Way.TERMINATE: {ExitCode.TERMINATED},
    Way.DEADLINE: {0, ExitCode.DEADLINE},
    Way.SET_UP_FAILS: {ExitCode.INFRASTRUCTURE},
    Way.TEARDOWN_FAILS: {ExitCode.INFRASTRUCTURE},
}
"""What each way exits with, if the end came while tests were still to run."""


_UNDISTURBED = {Way.NORMAL, Way.FAILURES, Way.EXIT_FIRST, Way.MAX_FAIL, Way.SET_UP_FAILS, Way.TEARDOWN_FAILS}


def judge(case: Case, seen: Seen) -> list[str]:
    """What was wrong; nothing if all promises were kept."""
    judge = _Judge(case, seen)
    said = [judge.exit_code(), judge.shared(), judge.own(), judge.order(), judge.left_over(), judge.record()]
    return [*chain(*said), *judge.swept()]


class _Judge:
    def __init__(self, case: Case, seen: Seen) -> None:
        self.case = case
        self.seen = seen
        self.told = seen.told
        self.counts = Counter((line.event, line.name) for line in seen.told)
        self.lines = read(seen.run) if seen.run else []
        self.ready = [line["name"] for line in self.lines if line["type"] == "resource" and line["event"] == "ready"]
        self.ready = [name for name in self.ready if name.startswith("shared")]
        self.sudden = case.way in SUDDEN and seen.struck is not None
        self.needed = self._needed()

    def _needed(self) -> set[str]:
        suite = self.case.suite
        needs = {resource.name: resource.needs for resource in suite.shared}
        needs |= {resource.name: resource.needs for resource in suite.own}
        found: set[str] = set()
        todo = [name for test in suite.tests for name in test.needs]
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                todo.extend(needs[name])
        return {name for name in found if name.startswith("shared")}

    def exit_code(self) -> Iterator[str]:
        code = self.seen.code
        if code is None:
            yield "pytest did not end"
            return
        if self.sudden:
            return
        allowed = EXITS.get(self.case.way, {0})
        if self.case.way in SIGNALS:
            if self._came_late():
                allowed = allowed | {0}
            if self._came_early() or self._came_after_the_end():
                return
        if code not in allowed:
            yield f"exit code {code}, not {' or '.join(str(int(code)) for code in sorted(allowed))}"

    def _came_late(self) -> bool:
        """Whether no end came, or only when the run was ending by itself."""
        struck = self.seen.struck
        if struck is None:
            return True
        ended = Counter(line.name for line in self.told if line.event == "test-end" and line.at <= struck)
        return len(ended) == len(self.case.suite.tests)

    def _came_early(self) -> bool:
        """Whether the signal came before pytest was asked to handle any."""
        struck = self.seen.struck
        return struck is not None and not any(line["type"] == "run" and line["at"] < struck for line in self.lines)

    def _came_after_the_end(self) -> bool:
        """Whether the last signal came when all was done, so that only the interpreter was there to take it."""
        ends = [line["at"] for line in self.lines if line["type"] == "end"]
        return bool(ends) and self.seen.struck_last > ends[0] - 0.02

    def shared(self) -> Iterator[str]:
        for resource in self.case.suite.shared:
            name = resource.name
            begun, up = self.counts["setup-begin", name], self.counts["setup-end", name]
            leaving, down = self.counts["teardown-begin", name], self.counts["teardown-end", name]
            if max(begun, up, leaving, down) > 1:
                yield f"{name}: set up {begun} times ({up} to the end), torn down {leaving} times ({down} to the end)"
            if begun and name not in self.needed:
                yield f"{name}: started although nothing needs it"
            if self.case.way in {Way.NORMAL, Way.FAILURES} and name in self.needed and not up:
                yield f"{name}: not started although something needs it"
            if self.sudden:
                continue
            if up and not leaving and (name in self.ready or not self._was_cut(name)):
                yield f"{name}: set up but not torn down"
            if leaving and not up:
                yield f"{name}: torn down but not set up"
            if leaving and not down and resource.fails != "teardown":
                yield f"{name}: its teardown was cut off"

    def own(self) -> Iterator[str]:
        """What each worker has for itself, where none is cut off."""
        if self.case.way not in _UNDISTURBED:
            return
        begun = Counter((line.name, line.pid) for line in self.told if line.event == "worker-setup-end")
        ended = Counter((line.name, line.pid) for line in self.told if line.event == "worker-teardown-end")
        for name, pid in begun.keys() | ended.keys():
            if begun[name, pid] != 1 or ended[name, pid] != 1:
                counts = f"{begun[name, pid]} times, torn down {ended[name, pid]} times"
                yield f"{name}: set up in process {pid} {counts}"

    def _was_cut(self, name: str) -> bool:
        """Whether the run ended between its last line and its being ready."""
        return any(
            line["type"] == "resource" and line["name"] == name and line["event"] in {"failed", "cancelled"}
            for line in self.lines
        )

    def order(self) -> Iterator[str]:
        ends = {line.name: line.at for line in self.told if line.event == "setup-end"}
        for resource in self.case.suite.shared:
            begin = next((x.at for x in self.told if (x.event, x.name) == ("setup-begin", resource.name)), None)
            for need in resource.needs:
                if begin is not None and ends.get(need, begin + 1) > begin:
                    yield f"{resource.name}: began before {need} was up"
        working = [line for line in self.told if line.event.startswith(("test-", "worker-"))]
        if working and any(ends.get(name, working[0].at + 1) > working[0].at for name in self.needed):
            yield f"{working[0].name} began before every shared resource was up"
        if self.case.way is Way.SET_UP_FAILS and working:
            yield f"{working[0].name} ran although a shared set-up had failed"
        downs = [line for line in self.told if line.event == "teardown-begin"]
        if downs and working and working[-1].at > downs[0].at:
            last = working[-1]
            yield f"{last.event} {last.name} came {last.at - downs[0].at:.3f} s after the teardown of {downs[0].name}"
        torn = [line.name for line in downs]
        expected = [name for name in reversed(self.ready) if name in torn]
        if [name for name in torn if name in expected] != expected:
            yield f"torn down in the order {torn}, but ready in the order {self.ready}"

    def left_over(self) -> Iterator[str]:
        seen = self.seen
        if not self.sudden:
            yield from (f"still running: {process}" for process in seen.left)
            yield from (f"directory left: {directory}" for directory in seen.directories)
            yield from (f"lease left: {lease}" for lease in seen.leases)
        elif self.case.way is Way.CONTROLLER_KILLED:
            yield from (f"still running: {process}" for process in seen.left)
        yield from (f"left after the sweep: {thing}" for thing in seen.after_sweep)

    def record(self) -> Iterator[str]:
        if not self.lines and not (self.seen.struck and self._came_early()):
            yield "there is no record"
        ends = [line for line in self.lines if line["type"] == "end"]
        if len(ends) > 1:
            yield "the record ends twice"
        if not self.sudden and not (self.case.way in SIGNALS and self.seen.struck and self._came_early()):
            if not ends and self.told:  # pytest ends no session that it has not quite begun
                yield "the record has no end"
            elif ends and ends[0]["exit"] != self.seen.code and not self._came_after_the_end():
                yield f"the record says exit {ends[0]['exit']}, but it was {self.seen.code}"

    def swept(self) -> Iterator[str]:
        if self.seen.sweep_code:
            yield f"the sweep exited with {self.seen.sweep_code}"
        for resource in self.case.suite.shared:
            name = resource.name
            swept = self.counts["swept", name]
            if swept > 1:
                yield f"{name}: its clean-up command ran {swept} times"
            torn = self.counts["teardown-end", name]
            if swept and torn and not self.sudden:
                yield f"{name}: its clean-up command ran although it was torn down"
            # Killed after its teardown, it may have had the time to give the command back.
            excused = self.sudden and self.counts["teardown-begin", name]
            if self.counts["registered", name] and not (swept or torn or excused):
                yield f"{name}: neither was it torn down nor did its clean-up command run"
