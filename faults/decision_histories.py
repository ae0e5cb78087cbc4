"""Histories of the controller: what is started and which faults happen when, decided by a seed and by nothing else."""

import random
from dataclasses import dataclass
from enum import StrEnum

MONTH = 31 * 24 * 3600
HALF_HOUR = 1800
"""Seconds. In between DataStorage would have the events of a clock that is ahead wait until their time."""

CONTROLLERS = ("controller", "controller-1")
LEADER = "leader"
API_SERVER, DATASTORAGE = "apiserver", "datastorage"
NAMESPACES = 4


class DecisionFault(StrEnum):
    """What may happen."""

    KILL = "kill -9"
    STOP = "SIGSTOP"
    TERMINATE = "SIGTERM"
    KILL_POLICY = "kill -9 the policy process of"
    EXPIRE = "expire watches (410)"
    SILENCE = "silent watches"
    CUT_WATCHES = "cut watches"
    FORBID = "forbid"
    THROTTLE = "throttle (429)"
    FAIL = "fail (500)"
    CONFLICT = "conflict storm"
    SWAP_POLICY = "swap the policy every 5 ms"
    DELETE_NAMESPACE = "delete namespace"
    CLOCK_JUMP = "clock jump"
    EDIT_STATUS = "edit statuses"
    DELETE_SIGNALS = "delete signals"


@dataclass(frozen=True, kw_only=True)
class DecisionAction:
    """One fault of a history."""

    at: float
    """Seconds from the start of the load."""
    fault: DecisionFault
    target: str = ""
    duration: float = 0.0
    offset: int = 0
    """Seconds by which the clock jumps."""

    def __str__(self) -> str:
        text = f"{self.fault} {self.target}".rstrip()
        text += f" by {self.offset} s" if self.offset else ""
        text += f" for {self.duration:.2f} s" if self.duration else ""
        return f"+{self.at:.2f} s  {text}"


@dataclass(frozen=True, kw_only=True)
class DecisionHistory:
    """Everything that is decided before it starts."""

    seed: int
    signals: int
    has_finalizers: bool
    actions: tuple[DecisionAction, ...]
    duration: float

    def __str__(self) -> str:
        head = f"seed {self.seed}: {self.signals} signals in {self.duration:.1f} s"
        return "\n".join([head, *(f"  {action}" for action in self.actions)])


_TARGETS: dict[DecisionFault, tuple[str, ...]] = {
    DecisionFault.KILL: (LEADER, LEADER, LEADER, *CONTROLLERS, API_SERVER, API_SERVER, DATASTORAGE),
    DecisionFault.STOP: (LEADER, *CONTROLLERS),
    DecisionFault.TERMINATE: (LEADER, *CONTROLLERS),
    DecisionFault.KILL_POLICY: (LEADER,),
    DecisionFault.FORBID: ("status", "signalprocessings", "leases", "pods", "events", "statefulsets"),
    DecisionFault.DELETE_NAMESPACE: tuple(f"shop-{number}" for number in range(NAMESPACES)),
    DecisionFault.CLOCK_JUMP: (*CONTROLLERS, LEADER),
}
_INSTANT = {
    DecisionFault.KILL,
    DecisionFault.TERMINATE,
    DecisionFault.KILL_POLICY,
    DecisionFault.EXPIRE,
    DecisionFault.CUT_WATCHES,
    DecisionFault.EDIT_STATUS,
    DecisionFault.DELETE_SIGNALS,
}
_WEIGHTS = {DecisionFault.KILL: 6, DecisionFault.SWAP_POLICY: 3, DecisionFault.EDIT_STATUS: 3}


def random_decision_history(seed: int, *, has_clocks: bool = True) -> DecisionHistory:
    """The history of a seed; faults that this machine cannot make are left out, the others stay the same."""
    rng = random.Random(f"decision {seed}")
    duration = rng.uniform(3.0, 6.0)
    faults = list(DecisionFault)
    chosen = rng.choices(faults, weights=[_WEIGHTS.get(fault, 2) for fault in faults], k=rng.randint(3, 7))
    actions = sorted((_action(rng, fault, duration) for fault in chosen), key=lambda action: action.at)
    return DecisionHistory(
        seed=seed,
        signals=rng.choice([40, 80, 120]),
        has_finalizers=rng.random() < 0.5 or DecisionFault.DELETE_SIGNALS in chosen,
        actions=tuple(each for each in actions if has_clocks or each.fault is not DecisionFault.CLOCK_JUMP),
        duration=duration,
    )


def _action(rng: random.Random, fault: DecisionFault, duration: float) -> DecisionAction:
    at, lasting = rng.uniform(0.1, duration), rng.choice([0.3, 1.0, 2.5])
    target = rng.choice(_TARGETS.get(fault, ("",)))
    offset = rng.choice([-MONTH, -HALF_HOUR, HALF_HOUR, MONTH])
    return DecisionAction(
        at=at,
        fault=fault,
        target=target,
        duration=0.0 if fault in _INSTANT else lasting,
        offset=offset if fault is DecisionFault.CLOCK_JUMP else 0,
    )
