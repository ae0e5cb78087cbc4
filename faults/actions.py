"""Performing the faults of a history on its processes, and undoing them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import asyncpg

from faults.histories import MONTH, POSTGRES, Action, FaultType, History
from faults.stack import ROLE, START_TIMEOUT, Stack
from kubernaut.embedded.errors import EmbeddedError
from support.eventually import eventually
from support.processes import descendants

CANCEL_INTERVAL = 0.02  # seconds
DBA_TIMEOUT = 3.0  # seconds
HEAL_TIMEOUT = 60.0  # seconds

_BACKENDS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'kubernaut-datastorage'"
_DBA_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""What a DBA meets whose server is down as well; the fault then does not happen."""


class NotPossible(Exception):
    """The fault found nothing to happen to, because another one was there before it."""


async def perform(stack: Stack, action: Action) -> None:
    """Let a fault happen, wait its duration, and undo it. Raises NotPossible."""
    try:
        async with _OPENINGS[action.fault](stack, action):
            await asyncio.sleep(action.duration)
    except _DBA_ERRORS as error:
        raise NotPossible(str(error) or type(error).__name__) from error


async def heal(stack: Stack) -> None:
    """Undo whatever is left of any fault, and wait until every process is up."""
    for disk in stack.disks.values():
        disk.release()
    for link in stack.links.values():
        link.restore()
    for pid in _pids_below(stack):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    for component in stack.components.values():
        component.may_start.set()
    await eventually(lambda: _reset_database(stack), timeout=HEAL_TIMEOUT, interval=0.05, description="database healed")
    async with asyncio.timeout(START_TIMEOUT):
        for component in stack.components.values():
            await component.is_up.wait()


def pass_time(stack: Stack, history: History) -> None:
    """Let the month pass that a clock was ahead: what it stamped must wait until then, by design."""
    if any(action.offset > 0 for action in history.actions):
        for clock in stack.clocks.values():
            clock.set(MONTH)


@asynccontextmanager
async def _kill(stack: Stack, action: Action) -> AsyncIterator[None]:
    _send(stack, action.target, signal.SIGKILL)
    yield


@asynccontextmanager
async def _stop(stack: Stack, action: Action) -> AsyncIterator[None]:
    pid = _send(stack, action.target, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def _restart(stack: Stack, action: Action) -> AsyncIterator[None]:
    _send(stack, action.target, signal.SIGTERM)
    yield


@asynccontextmanager
async def _cut(stack: Stack, action: Action) -> AsyncIterator[None]:
    with stack.links[action.target, action.other].cut(action.mode, action.direction):
        yield


@asynccontextmanager
async def _fill_disk(stack: Stack, action: Action) -> AsyncIterator[None]:
    with stack.disks[action.target].filled():
        yield


@asynccontextmanager
async def _clock_jump(stack: Stack, action: Action) -> AsyncIterator[None]:
    stack.clocks[action.target].set(action.offset)
    try:
        yield
    finally:
        stack.clocks[action.target].set(0)


@asynccontextmanager
async def _signal_backend(stack: Stack, action: Action) -> AsyncIterator[None]:
    async with _dba(stack) as connection:
        pids = [row["pid"] for row in await connection.fetch(_BACKENDS)]
    if not pids:
        raise NotPossible("DataStorage has no connection")
    number = signal.SIGKILL if action.fault is FaultType.KILL_BACKEND else signal.SIGSTOP
    with suppress(ProcessLookupError):
        os.kill(pids[0], number)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pids[0], signal.SIGCONT)


@asynccontextmanager
async def _terminate(stack: Stack, action: Action) -> AsyncIterator[None]:
    async with _dba(stack) as connection:
        await connection.execute(f"SELECT pg_terminate_backend(pid) FROM ({_BACKENDS}) AS backends")
    yield


@asynccontextmanager
async def _cancel(stack: Stack, action: Action) -> AsyncIterator[None]:
    async def cancel(connection: asyncpg.Connection) -> None:
        while True:
            await connection.execute(f"SELECT pg_cancel_backend(pid) FROM ({_BACKENDS}) AS backends")
            await asyncio.sleep(CANCEL_INTERVAL)

    async with _dba(stack) as connection:
        task = asyncio.create_task(cancel(connection))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _read_only(stack: Stack, action: Action) -> AsyncIterator[None]:
    async with _dba(stack) as connection:
        await connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await connection.execute("SELECT pg_reload_conf()")
    yield
    async with _dba(stack) as connection:
        await connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await connection.execute("SELECT pg_reload_conf()")


@asynccontextmanager
async def _lock_table(stack: Stack, action: Action) -> AsyncIterator[None]:
    async with _dba(stack) as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {action.other} IN ACCESS EXCLUSIVE MODE")
        yield


@asynccontextmanager
async def _exhaust_connections(stack: Stack, action: Action) -> AsyncIterator[None]:
    async with _dba(stack) as connection:
        await connection.execute(f"ALTER ROLE {ROLE} CONNECTION LIMIT 1")
        await connection.execute(f"SELECT pg_terminate_backend(pid) FROM ({_BACKENDS}) AS backends")
    yield
    async with _dba(stack) as connection:
        await connection.execute(f"ALTER ROLE {ROLE} CONNECTION LIMIT -1")


_OPENINGS: dict[FaultType, Callable[[Stack, Action], AbstractAsyncContextManager[None]]] = {
    FaultType.KILL: _kill,
    FaultType.STOP: _stop,
    FaultType.RESTART: _restart,
    FaultType.CUT: _cut,
    FaultType.FILL_DISK: _fill_disk,
    FaultType.CLOCK_JUMP: _clock_jump,
    FaultType.KILL_BACKEND: _signal_backend,
    FaultType.STOP_BACKEND: _signal_backend,
    FaultType.TERMINATE: _terminate,
    FaultType.CANCEL: _cancel,
    FaultType.READ_ONLY: _read_only,
    FaultType.LOCK_TABLE: _lock_table,
    FaultType.EXHAUST_CONNECTIONS: _exhaust_connections,
}


@asynccontextmanager
async def _dba(stack: Stack, timeout: float = DBA_TIMEOUT) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection, past every proxy."""
    connection = await asyncpg.connect(stack.database, timeout=timeout, command_timeout=timeout)
    try:
        yield connection
    finally:
        connection.terminate()


def _send(stack: Stack, name: str, number: signal.Signals) -> int:
    component = stack.components[name]
    if not component.is_up.is_set():
        raise NotPossible("the process is not up")
    pid = component.pid
    if number in {signal.SIGKILL, signal.SIGTERM}:
        component.is_up.clear()
    with suppress(ProcessLookupError):
        os.kill(pid, number)
    return pid


async def _reset_database(stack: Stack) -> bool:
    """False while PostgreSQL is not there."""
    if not stack.components[POSTGRES].is_up.is_set():
        return False
    try:
        async with _dba(stack, HEAL_TIMEOUT / 4) as connection:
            await connection.execute("SET default_transaction_read_only = off")
            await connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
            await connection.execute("SELECT pg_reload_conf()")
            await connection.execute(f"ALTER ROLE {ROLE} CONNECTION LIMIT -1")
    except (*_DBA_ERRORS, EmbeddedError):
        return False
    return True


def _pids_below(stack: Stack) -> list[int]:
    """Every process of the history, PostgreSQL's backends included."""
    return sorted(set().union(*({pid, *descendants(pid)} for pid in stack.pids())))
