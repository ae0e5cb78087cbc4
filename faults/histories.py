"""Histories: what is started and which faults happen when, decided by a seed and by nothing else."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from faults.proxies import CutMode, Direction

MONTH = 31 * 24 * 3600
"""Seconds."""

POSTGRES, VALKEY = "postgres", "valkey"
_TABLES = ("audit_events", "audit_ledger", "audit_trees", "audit_tiles", "audit_checkpoints")


class FaultType(StrEnum):
    """What may happen."""

    KILL = "kill -9"
    STOP = "SIGSTOP"
    RESTART = "restart"
    CUT = "cut network"
    FILL_DISK = "fill disk"
    CLOCK_JUMP = "clock jump"
    KILL_BACKEND = "kill -9 backend"
    STOP_BACKEND = "SIGSTOP backend"
    TERMINATE = "pg_terminate_backend"
    CANCEL = "cancel statements"
    READ_ONLY = "read-only"
    LOCK_TABLE = "lock table"
    EXHAUST_CONNECTIONS = "exhaust connections"


_DATABASE_FAULTS = (
    FaultType.KILL_BACKEND,
    FaultType.STOP_BACKEND,
    FaultType.TERMINATE,
    FaultType.CANCEL,
    FaultType.READ_ONLY,
    FaultType.LOCK_TABLE,
    FaultType.EXHAUST_CONNECTIONS,
)


@dataclass(frozen=True, kw_only=True)
class Action:
    """One fault of a history."""

    at: float
    """Seconds from the start of the writing."""
    fault: FaultType
    target: str
    duration: float = 0.0
    """Seconds until it is undone, where it has to be."""
    other: str = ""
    """The other end of a link, or the table of a lock."""
    mode: CutMode = CutMode.HANG
    direction: Direction = Direction.BOTH
    offset: int = 0
    """Seconds by which the clock jumps."""

    def __str__(self) -> str:
        what = f"{self.fault} {self.target}"
        if self.fault is FaultType.CUT:
            what += f" → {self.other} ({self.mode}, {self.direction})"
        elif self.other:
            what += f" {self.other}"
        if self.offset:
            what += f" by {self.offset / 86400:+.0f} days"
        if self.duration:
            what += f" for {self.duration:.2f} s"
        return f"+{self.at:.2f} s  {what}"


@dataclass(frozen=True, kw_only=True)
class ClientPlan:
    """One client process."""

    name: str
    has_spool: bool
    """It uses `kubernaut.audit`; otherwise it speaks HTTP itself."""
    writers: int
    correlations: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class History:
    """Everything that is decided before it starts."""

    seed: int
    replicas: int
    shards: int
    statement_timeout: float
    lock_timeout: float
    connection_lifetime: float | None
    """Seconds after which the proxy between clients and replicas closes a connection."""
    clients: tuple[ClientPlan, ...]
    actions: tuple[Action, ...]
    duration: float
    """Seconds of writing."""

    def __str__(self) -> str:
        limits = f"statement timeout {self.statement_timeout:g} s, lock timeout {self.lock_timeout:g} s"
        processes = f"{self.replicas} replicas, {self.shards} shards"
        lines = [f"seed {self.seed}: {processes}, {limits}, {self.duration:.1f} s of writing"]
        for client in self.clients:
            way = "spool" if client.has_spool else "HTTP"
            lines.append(f"  {client.name}: {way}, {client.writers} writers, {', '.join(client.correlations)}")
        return "\n".join([*lines, *(f"  {action}" for action in self.actions)])


def random_history(seed: int, *, has_disks: bool = True, has_clocks: bool = True) -> History:
    """The history of a seed; faults that this machine cannot make are left out, the others stay the same."""
    rng = random.Random(seed)
    replicas = rng.choice([1, 2, 2])
    clients = tuple(_client(rng, number) for number in range(rng.choice([1, 2, 2])))
    duration = rng.uniform(2.0, 3.5)
    actions = sorted(_actions(rng, replicas, clients, duration), key=lambda action: action.at)
    possible = {FaultType.FILL_DISK: has_disks, FaultType.CLOCK_JUMP: has_clocks}
    return History(
        seed=seed,
        replicas=replicas,
        shards=rng.choice([1, 1, 3]),
        statement_timeout=rng.choice([1.0, 2.0]),
        lock_timeout=rng.choice([0.3, 1.5, 3.0]),
        connection_lifetime=rng.choice([None, 0.2, 1.0]),
        clients=clients,
        actions=tuple(action for action in actions if possible.get(action.fault, True)),
        duration=duration,
    )


def replica(number: int) -> str:
    """The name of a DataStorage process."""
    return f"datastorage-{number}"


def _client(rng: random.Random, number: int) -> ClientPlan:
    shared = [f"rr-{each}" for each in range(3)]
    return ClientPlan(
        name=f"client-{number}",
        has_spool=number == 0 or rng.random() < 0.6,
        writers=rng.randint(1, 3),
        correlations=tuple(rng.sample(shared, rng.randint(1, 3))),
    )


def _actions(rng: random.Random, replicas: int, clients: tuple[ClientPlan, ...], duration: float) -> list[Action]:
    services = [replica(number) for number in range(replicas)]
    names = [client.name for client in clients]
    makers: dict[Callable[[float, float], list[Action]], int] = {
        lambda at, lasting: [_process_fault(rng, at, lasting, [POSTGRES, VALKEY, *services, *names])]: 6,
        lambda at, lasting: [_cut(rng, at, lasting, services, names)]: 6,
        lambda at, lasting: [_disk(rng, at, lasting, clients)]: 2,
        lambda at, lasting: [_jump(rng, at, lasting, [*services, *names])]: 2,
        lambda at, lasting: [_database_fault(rng, at, lasting)]: 5,
        lambda at, lasting: [
            Action(at=at + 0.9 * turn, fault=FaultType.RESTART, target=service) for turn, service in enumerate(services)
        ]: 1,
    }
    actions: list[Action] = []
    for make in rng.choices(list(makers), weights=list(makers.values()), k=rng.randint(2, 6)):
        actions += make(rng.uniform(0.2, duration - 0.3), rng.choice([0.2, 0.6, 1.2, 2.0]))
    return actions


def _process_fault(rng: random.Random, at: float, lasting: float, targets: list[str]) -> Action:
    fault, target = rng.choice([FaultType.KILL, FaultType.KILL, FaultType.STOP]), rng.choice(targets)
    return Action(at=at, fault=fault, target=target, duration=lasting if fault is FaultType.STOP else 0)


def _cut(rng: random.Random, at: float, lasting: float, services: list[str], clients: list[str]) -> Action:
    service = rng.choice(services)
    source, target = rng.choice([(service, POSTGRES), (service, VALKEY), (rng.choice(clients), service)])
    mode, direction = rng.choice(list(CutMode)), rng.choice(list(Direction))
    fault = FaultType.CUT
    return Action(at=at, fault=fault, target=source, other=target, duration=lasting, mode=mode, direction=direction)


def _disk(rng: random.Random, at: float, lasting: float, clients: tuple[ClientPlan, ...]) -> Action:
    spools = [client.name for client in clients if client.has_spool]
    return Action(at=at, fault=FaultType.FILL_DISK, target=rng.choice([POSTGRES, VALKEY, *spools]), duration=lasting)


def _jump(rng: random.Random, at: float, lasting: float, targets: list[str]) -> Action:
    offset = rng.choice([-1, 1]) * MONTH
    return Action(at=at, fault=FaultType.CLOCK_JUMP, target=rng.choice(targets), offset=offset, duration=lasting)


def _database_fault(rng: random.Random, at: float, lasting: float) -> Action:
    fault = rng.choice(_DATABASE_FAULTS)
    is_instant = fault in {FaultType.KILL_BACKEND, FaultType.TERMINATE}
    table = rng.choice(_TABLES) if fault is FaultType.LOCK_TABLE else ""
    return Action(at=at, fault=fault, target=POSTGRES, duration=0 if is_instant else lasting, other=table)
