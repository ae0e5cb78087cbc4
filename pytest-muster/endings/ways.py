"""The ways in which a run can end, and when the end comes."""

import random
from dataclasses import dataclass
from enum import StrEnum

from endings import suites
from endings.suites import Suite


class Way(StrEnum):
    NORMAL = "normal"
    FAILURES = "failing tests"
    EXIT_FIRST = "-x"
    MAX_FAIL = "--maxfail"
    WORKER_EXITS = "a worker exits hard"
    WORKER_KILLED = "a worker is killed in a test"
    WORKER_KILLED_EVER = "a worker is killed at any moment"
    WORKER_KILLED_SET_UP = "a worker is killed in its set-up"
    WORKER_KILLED_TEARDOWN = "a worker is killed in its teardown"
    INTERRUPT_GROUP = "Ctrl-C"
    INTERRUPT_GROUP_TWICE = "Ctrl-C twice"
    INTERRUPT = "SIGINT to the controller"
    INTERRUPT_TWICE = "SIGINT to the controller twice"
    TERMINATE = "SIGTERM to the controller"
    DEADLINE = "deadline"
    SET_UP_FAILS = "a shared set-up fails"
    TEARDOWN_FAILS = "a shared teardown fails"
    CONTROLLER_KILLED = "the controller is killed"
    ALL_KILLED_SWEEP = "everything is killed, then muster sweep"
    ALL_KILLED_NEXT_RUN = "everything is killed, then another run"


SUDDEN = {Way.CONTROLLER_KILLED, Way.ALL_KILLED_SWEEP, Way.ALL_KILLED_NEXT_RUN}
"""The process that owns the shared resources has no chance to do anything."""

SIGNALS = {
    Way.INTERRUPT_GROUP,
    Way.INTERRUPT_GROUP_TWICE,
    Way.INTERRUPT,
    Way.INTERRUPT_TWICE,
    Way.TERMINATE,
}

TWICE = {Way.INTERRUPT_GROUP_TWICE, Way.INTERRUPT_TWICE}


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When something is done to the run: so many lines are in its log, or it began so long ago."""

    lines: int
    """0: look at the clock only."""
    delay: float


@dataclass(frozen=True, kw_only=True)
class Case:
    """One ending, and all that its seed decides."""

    seed: int
    way: Way
    suite: Suite
    options: tuple[str, ...]
    moment: Moment
    again: float
    """Seconds until the same is done a second time."""
    reapers_too: bool
    """Whether "everything" includes the reapers."""
    all_plugins: bool


def a_case(seed: int) -> Case:
    """The case of a seed. As many seeds in a row as there are ways have each way once."""
    way = list(Way)[seed % len(Way)]
    rng = random.Random(seed)  # noqa: S311
    suite, options = _suite(way, rng)
    return Case(
        seed=seed,
        way=way,
        suite=suite,
        options=("-n", str(suite.workers), *options),
        moment=_moment(suite, rng),
        again=rng.choice([0.0, 0.05, 0.2, 0.5]),
        reapers_too=rng.random() < 0.7,
        all_plugins=rng.random() < 0.2,
    )


def _suite(way: Way, rng: random.Random) -> tuple[Suite, tuple[str, ...]]:
    killed = way in {Way.WORKER_EXITS, Way.WORKER_KILLED, Way.WORKER_KILLED_EVER}
    killed |= way in {Way.WORKER_KILLED_SET_UP, Way.WORKER_KILLED_TEARDOWN}
    suite = suites.a_suite(rng, least_workers=1 if killed else 0)
    match way:
        case Way.FAILURES:
            return suites.with_failures(suite, rng, rng.randint(1, 3)), ()
        case Way.EXIT_FIRST:
            return suites.with_failures(suite, rng, rng.randint(1, 3)), ("-x",)
        case Way.MAX_FAIL:
            return suites.with_failures(suite, rng, 3), ("--maxfail=2",)
        case Way.WORKER_EXITS:
            return suites.with_death(suite, rng, "os._exit(3)"), ()
        case Way.WORKER_KILLED:
            return suites.with_death(suite, rng, "os.kill(os.getpid(), 9)"), ()
        case Way.WORKER_KILLED_SET_UP:
            return suites.with_dying_worker(suite, rng, "set-up"), ()
        case Way.WORKER_KILLED_TEARDOWN:
            return suites.with_dying_worker(suite, rng, "teardown"), ()
        case Way.DEADLINE:
            return suite, (f"--muster-deadline={rng.uniform(0.5, 4):.2f}",)
        case Way.SET_UP_FAILS:
            return suites.with_failing_resource(suite, rng, "set-up"), ()
        case Way.TEARDOWN_FAILS:
            return suites.with_failing_resource(suite, rng, "teardown"), ()
        case _:
            return suite, ()


def _moment(suite: Suite, rng: random.Random) -> Moment:
    if rng.random() < 0.2:
        return Moment(lines=0, delay=rng.uniform(0.05, 2.5))
    return Moment(lines=rng.randint(1, suite.events), delay=rng.choice([0.0, 0.0, rng.uniform(0, 0.2)]))
