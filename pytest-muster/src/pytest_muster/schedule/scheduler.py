"""Who runs which test when: our scheduler for xdist, true `serial` tests, and the line that says what was collected.

The scheduler serves `--dist load`, which is what `-n` means. It asks a plan (see `plans`) for one test at a time.
A test marked `serial` runs while no other test does: when no parallel test is left or running anywhere, the worker of
the lowest slot runs them one after the other; every other worker has ended by then. That worker holds the first of
them before, since xdist begins no test without knowing its successor; it begins none before the controller has opened
the gate, whatever else it is told.
"""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import pytest
from xdist.report import report_collection_diff
from xdist.scheduler import LoadScheduling, Scheduling
from xdist.workermanage import WorkerController, parse_tx_spec_config

from pytest_muster.exits import ExitCode
from pytest_muster.records import journal
from pytest_muster.records.run import Role, Run, run_of
from pytest_muster.resources import startup
from pytest_muster.schedule import durations, replay_plugin
from pytest_muster.schedule.plans import GivenOrder, LongestFirst, Plan, Replay
from pytest_muster.schedule.replay_plugin import CHOSEN, SCHEDULE
from pytest_muster.schedule.schedule import Schedule
from pytest_muster.schedule.slots import SLOTS

SERIAL = pytest.StashKey[frozenset[str]]()
"""The node ids of the collected tests that are marked `serial`; in processes that run tests."""

_ORDERING = ("muster_only", "failedfirst", "newfirst", "stepwise")
"""Options with which the order of the tests is what was asked for: it comes before the length of the tests."""


def pytest_addoption(parser: pytest.Parser) -> None:
    replay_plugin.add_options(parser)
    group = parser.getgroup("muster")
    group.addoption(
        "--muster-scheduler",
        choices=["on", "off"],
        default="on",
        help="Distribute tests with --dist load: the longest first, serial ones alone (default: on). "
        "With off, xdist does, and serial tests may run beside others.",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "serial: runs while no other test of the run does, on any worker.")
    run = run_of(config)
    if run.owns_shared:
        slots = 0 if run.role is Role.ALONE else run.workers
        config.stash[SCHEDULE] = schedule = replay_plugin.read_schedule(config, run.directory, slots=slots)
        if schedule and run.role is Role.CONTROLLER:
            _require_own_scheduler(config, "--muster-replay")
    if run.runs_tests:
        config.pluginmanager.register(durations.FixtureTimer(run), "muster-fixture-timer")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    schedule = node.config.stash[SCHEDULE]
    if schedule:
        node.workerinput[CHOSEN] = sorted(schedule.tests)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, object, object]:
    """After every other plugin has chosen and ordered: in a repetition only the record does."""
    result = yield
    schedule = config.stash.get(SCHEDULE, None)
    if schedule:
        order = [test for slot in sorted(schedule.queues) for test in schedule.queues[slot]] + list(schedule.serial)
        _write(config, [*schedule.notes, *replay_plugin.missing_tests(order, (item.nodeid for item in items))])
        replay_plugin.select(config, items, schedule.tests)
        replay_plugin.reorder(items, order)
    chosen: list[str] | None = getattr(config, "workerinput", {}).get(CHOSEN)  # how xdist marks a worker
    if chosen is not None:
        replay_plugin.select(config, items, set(chosen))
    return result


def _write(config: pytest.Config, notes: Sequence[str]) -> None:
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal:
        for note in notes:
            terminal.write_line(f"muster: {note}")


def _require_own_scheduler(config: pytest.Config, option: str) -> None:
    """Raise if another scheduler than ours distributes the tests."""
    if config.getoption("muster_scheduler") == "off":
        raise pytest.UsageError(f"{option} needs the scheduler of pytest-muster: leave out --muster-scheduler=off")
    if (dist := config.getoption("dist")) != "load":
        raise pytest.UsageError(f"{option} does not work with --dist {dist}: leave it out, or use --dist load")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Write what this process collected before xdist tells the controller that it did."""
    run = run_of(session.config)
    if not run.runs_tests:
        return
    serial = [item.nodeid for item in session.items if item.get_closest_marker("serial")]
    session.config.stash[SERIAL] = frozenset(serial)
    run.journal.write(
        "collected",
        count=len(session.items),
        tests=[item.nodeid for item in session.items],
        serial=serial,
        pending=[item.nodeid for item in session.items if item.get_closest_marker("pending")],
        **startup.needs_of(session.items),
    )


def collected(run: Run, worker: str) -> journal.Line:
    """What a worker wrote about its collection."""
    for line in journal.lines(run.directory / "workers" / f"{worker}.jsonl", only="collected"):
        return line
    pytest.exit(
        f"the record does not say what {worker} collected, so nobody knows which tests are serial; "
        f"is there room in {run.directory}?",
        ExitCode.INFRASTRUCTURE,
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """A worker that is told to stop while it holds a serial test does not run it: others may still be busy."""
    run = run_of(item.config)
    if run.role is Role.WORKER and item.nodeid in item.config.stash[SERIAL] and not _gate(run).exists():
        return None if item.config.getoption("muster_scheduler") == "off" else True
    return None


def _gate(run: Run) -> Path:
    return run.directory / "serial"


@pytest.hookimpl(wrapper=True, trylast=True, optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config) -> Generator[None, Scheduling, "Scheduling | Scheduler"]:
    """Ours instead of xdist's for `--dist load`; any other one stays, and runs no serial tests."""
    theirs = yield
    if type(theirs) is LoadScheduling and config.getoption("muster_scheduler") == "on":
        scheduler = Scheduler(config)
        config.pluginmanager.register(scheduler, "muster-scheduler")  # it hears when tests begin
        return scheduler
    schedule = theirs.schedule

    def schedule_unless_serial() -> None:
        _check_serial(config)
        schedule()

    theirs.schedule = schedule_unless_serial
    return theirs


def _check_serial(config: pytest.Config) -> None:
    """Raise if a test is marked serial, though nobody will see to it that it runs alone."""
    run = run_of(config)
    workers = sorted((run.directory / "workers").glob("*.jsonl"))
    serial = collected(run, workers[0].stem)["serial"] if workers else []
    if not serial:
        return
    some = f"{serial[0]} and {len(serial) - 1} more are" if len(serial) > 1 else f"{serial[0]} is"
    if config.getoption("muster_scheduler") == "off":
        _write(config, [f"{some} marked serial, and may run beside others: --muster-scheduler=off"])
        return
    raise pytest.UsageError(
        f"{some} marked serial, which --dist {config.getoption('dist')} does not know: use --dist load, "
        "or --muster-scheduler=off to let them run beside others"
    )


class Scheduler:
    """What xdist's session asks of a scheduler."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.run = run_of(config)
        self.expected = len(parse_tx_spec_config(config))
        self.collections: dict[WorkerController, list[str]] = {}
        self.dispatcher: Dispatcher | None = None
        self.failed = False
        self._nodes: list[WorkerController] = []

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if self.dispatcher:
            self.dispatcher.began(nodeid)

    @property
    def nodes(self) -> list[WorkerController]:
        return list(self._nodes)

    @property
    def collection_is_completed(self) -> bool:
        return self.dispatcher is not None or len(self.collections) >= self.expected

    @property
    def tests_finished(self) -> bool:
        return self.failed or bool(self.dispatcher and not self.dispatcher.busy)

    @property
    def has_pending(self) -> bool:
        return bool(self.dispatcher and self.dispatcher.busy)

    def add_node(self, node: WorkerController) -> None:
        self._nodes.append(node)

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        self.collections[node] = list(collection)

    def schedule(self) -> None:
        if self.dispatcher is None:
            if not self._all_equal():
                self.failed = True
                return
            self.dispatcher = self._begin()
        for node in self.collections:
            if node in self._nodes and not self.dispatcher.knows(node):
                self._join(node, self.dispatcher)
        self.dispatcher.feed()

    def _begin(self) -> "Dispatcher":
        node, tests = next(iter(self.collections.items()))
        marked = set(collected(self.run, node.gateway.id)["serial"])
        serial = [number for number, test in enumerate(tests) if test in marked]
        parallel = [number for number, test in enumerate(tests) if test not in marked]
        schedule = self.config.stash[SCHEDULE]
        if schedule:
            return self._repeat(schedule, tests)
        plan: Plan
        if any(self.config.getoption(option, None) for option in _ORDERING):
            plan = GivenOrder(parallel)
        else:
            timings = durations.load_timings(self.run.directory.parent, tests)
            plan = LongestFirst(tests, parallel, timings, workers=self.expected)
        return Dispatcher(tests, plan, serial, open_gate=_gate(self.run).touch)

    def _repeat(self, schedule: Schedule, tests: Sequence[str]) -> "Dispatcher":
        numbers = {test: number for number, test in enumerate(tests)}
        order = [test for queue in schedule.queues.values() for test in queue] + list(schedule.serial)
        _write(self.config, [*schedule.notes, *replay_plugin.missing_tests(order, numbers)])
        plan = Replay(
            {slot: [numbers[test] for test in queue if test in numbers] for slot, queue in schedule.queues.items()}
        )
        serial = [numbers[test] for test in schedule.serial if test in numbers]
        return Dispatcher(tests, plan, serial, open_gate=_gate(self.run).touch, host_slot=schedule.host)

    def _join(self, node: WorkerController, dispatcher: "Dispatcher") -> None:
        tests = next(iter(self.collections.values()))
        if self.collections[node] != tests:  # a replacement found something else than the first workers
            self._report_difference(node)
            del self.collections[node]
            node.shutdown()
            return
        dispatcher.join(node, self.config.stash[SLOTS].of(node.gateway.id))

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        if self.dispatcher:
            self.dispatcher.done(node, item_index)

    def mark_test_pending(self, item: str) -> None:
        if self.dispatcher:
            self.dispatcher.again(next(iter(self.collections.values())).index(item))

    def remove_pending_tests_from_node(self, node: WorkerController, indices: Sequence[int]) -> None:
        raise RuntimeError("xdist says that a worker gave tests back, but nobody asked it to")

    def remove_node(self, node: WorkerController) -> str | None:
        if node not in self._nodes:
            raise KeyError(node)  # what xdist expects of a worker that died before it was ready
        self._nodes.remove(node)
        if self.dispatcher is None or not self.dispatcher.knows(node):
            # One that finds no test may end before others have begun: what it was to collect does not exist.
            if self.dispatcher is None and self.collections.get(node):
                del self.collections[node]
            return None
        crashed = self.dispatcher.leave(node)
        return None if crashed is None else next(iter(self.collections.values()))[crashed]

    def _all_equal(self) -> bool:
        first, *others = self.collections
        different = [node for node in others if self.collections[node] != self.collections[first]]
        for node in different:
            self._report_difference(node)
        return not different

    def _report_difference(self, node: WorkerController) -> None:
        first = next(iter(self.collections))
        names = first.gateway.id, node.gateway.id
        difference = report_collection_diff(self.collections[first], self.collections[node], *names)
        report = pytest.CollectReport(nodeid=node.gateway.id, outcome="failed", longrepr=difference, result=[])
        self.config.hook.pytest_collectreport(report=report)


class Dispatcher:
    """Gives tests to the workers: each holds the one that it runs and one more; serial ones come last, and alone."""

    def __init__(
        self,
        tests: Sequence[str],
        plan: Plan,
        serial: Sequence[int],
        *,
        open_gate: Callable[[], None],
        host_slot: int = 0,
    ) -> None:
        self.tests = tests
        self.plan = plan
        self.serial = deque(serial)
        """Serial tests that no worker holds."""
        self.host: WorkerController | None = None
        """The worker that runs the serial tests, once it has nothing else to do."""
        self.alone = False
        """Whether the serial tests may run: no parallel test is left, and no worker but the host."""
        self._open_gate = open_gate
        self._host_slot = host_slot
        self._marked = frozenset(serial)
        self._held: dict[WorkerController, list[int]] = {}
        self._slots: dict[WorkerController, int] = {}
        self._begun: set[str] = set()

    @property
    def busy(self) -> bool:
        """Whether a test is left or runs."""
        return bool(self.plan.left or self.serial or any(self._held.values()))

    def knows(self, node: WorkerController) -> bool:
        return node in self._held

    def join(self, node: WorkerController, slot: int) -> None:
        self._held[node] = []
        self._slots[node] = slot
        self.plan.open(node.gateway.id, slot)

    def began(self, test: str) -> None:
        self._begun.add(test)

    def done(self, node: WorkerController, test: int) -> None:
        self._held[node].remove(test)
        if test not in self._marked:
            self.plan.done(node.gateway.id, test)
        self._feed(node)
        self._begin_serial()

    def again(self, test: int) -> None:
        """Run a test that a worker died of once more."""
        self._begun.discard(self.tests[test])
        if test in self._marked:
            self.serial.appendleft(test)
        else:
            self.plan.add(test)
        self.feed()

    def leave(self, node: WorkerController) -> int | None:
        """A worker is gone. Others get what it held, but for the test that it died of, which is the answer."""
        held = self._held.pop(node)
        del self._slots[node]
        if node is self.host:
            self.host = None
        crashed = next((test for test in held if self.tests[test] in self._begun), None)
        unrun = [test for test in held if test != crashed]
        self.serial.extendleft(reversed([test for test in unrun if test in self._marked]))
        self.plan.close(node.gateway.id, [test for test in unrun if test not in self._marked])
        self.feed()
        return crashed

    def feed(self) -> None:
        """Give every worker what it needs to go on."""
        nodes = sorted(self._held, key=self._slots.__getitem__)
        for node in nodes:  # each gets a first one before any gets a second one
            if not self._held[node]:
                self._give(node)
        for node in nodes:
            self._feed(node)
        self._begin_serial()

    def _feed(self, node: WorkerController) -> None:
        while len(self._held[node]) < 2 and self._give(node):
            pass

    def _give(self, node: WorkerController) -> bool:
        """Send one more test, or to shut down if there is none; False if nothing is to be added for now."""
        if node.shutting_down:
            return False
        test = None
        if node is not self.host:
            test = self.plan.take(node.gateway.id)
            if test is None and not self._hosts(node):
                node.shutdown()
                return False
        if test is None:
            if not self.alone and any(held in self._marked for held in self._held[node]):
                return False  # with one more it would begin the serial test that it holds
            test = self.serial.popleft() if self.serial else self.plan.take(node.gateway.id)
        if test is None:
            node.shutdown()
            return False
        self._held[node].append(test)
        node.send_runtest_some([test])
        return True

    def _hosts(self, node: WorkerController) -> bool:
        """Whether this worker, for which no parallel test is left, is to run the serial ones."""
        if self.host is None and self.serial:
            there = {self._slots[other]: other for other in self._held if not other.shutting_down}
            if node is there.get(self._host_slot, there[min(there)]):
                self.host = node
        return node is self.host

    def _begin_serial(self) -> None:
        if self.alone or self.host is None or self.plan.left or len(self._held) > 1:
            return
        if all(test in self._marked for test in self._held[self.host]):
            self.alone = True
            self._open_gate()
            self._feed(self.host)
