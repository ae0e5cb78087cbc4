"""Connections to PostgreSQL, and the one place that knows its error classes."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import asyncpg
import structlog

from kubernaut.datastorage import queries
from kubernaut.datastorage.config import DatabaseConfig
from kubernaut.datastorage.errors import CannotStart, DatabaseUnavailable, DataStorageError, Reason
from kubernaut.ops.settings import SettingsError

log = structlog.get_logger("datastorage")

WRITERS = 2
"""Connections that write."""

PROBES = 1
"""Connections that ask whether PostgreSQL would take a write."""

PROBE_TIMEOUT = 1.5
"""Seconds for one such question; less than readiness gives its checks."""

_REJECTED: Mapping[type[Exception], Reason] = {
    asyncpg.InvalidAuthorizationSpecificationError: Reason.AUTH_FAILED,
    asyncpg.InvalidCatalogNameError: Reason.MISSING,
    asyncpg.InsufficientPrivilegeError: Reason.PERMISSION_DENIED,
}
_UNAVAILABLE: Mapping[type[Exception], Reason] = {
    # The special ones before those that they are kinds of.
    asyncpg.ReadOnlySQLTransactionError: Reason.READ_ONLY,
    asyncpg.LockNotAvailableError: Reason.LOCKED,
    # ALTER DATABASE … ALLOW_CONNECTIONS false
    asyncpg.ObjectNotInPrerequisiteStateError: Reason.UNREACHABLE,
    asyncpg.DiskFullError: Reason.FULL,
    asyncpg.TooManyConnectionsError: Reason.CONNECTIONS_EXHAUSTED,
    asyncpg.QueryCanceledError: Reason.TIMEOUT,
    asyncpg.IdleInTransactionSessionTimeoutError: Reason.TIMEOUT,
    TimeoutError: Reason.TIMEOUT,
    OSError: Reason.UNREACHABLE,
    asyncpg.PostgresConnectionError: Reason.UNREACHABLE,
    asyncpg.OperatorInterventionError: Reason.UNREACHABLE,
    asyncpg.InterfaceError: Reason.UNREACHABLE,
    # A connection that the server has just ended, before the driver has noticed.
    asyncpg.InternalClientError: Reason.UNREACHABLE,
    asyncpg.InsufficientResourcesError: Reason.ERROR,
    asyncpg.PostgresSystemError: Reason.ERROR,
    asyncpg.InternalServerError: Reason.ERROR,
    asyncpg.UndefinedTableError: Reason.SCHEMA_CHANGED,
    asyncpg.UndefinedColumnError: Reason.SCHEMA_CHANGED,
    asyncpg.UndefinedFunctionError: Reason.SCHEMA_CHANGED,
    asyncpg.DatatypeMismatchError: Reason.SCHEMA_CHANGED,
    # COPY into a table with row-level security, RETURNING or ON CONFLICT on one with rules.
    asyncpg.FeatureNotSupportedError: Reason.SCHEMA_CHANGED,
    asyncpg.SyntaxOrAccessError: Reason.ERROR,
}


@contextmanager
def translated() -> Iterator[None]:
    """Translate the driver's errors: CannotStart where retrying does not help, DatabaseUnavailable where it does."""
    try:
        yield
    except DataStorageError:
        raise
    except tuple(_REJECTED) as error:
        raise CannotStart(
            f"PostgreSQL rejected the connection: {error}; check user, password and database name",
            _reason(_REJECTED, error),
        ) from error
    except tuple(_UNAVAILABLE) as error:
        message = f"PostgreSQL unavailable: {str(error) or type(error).__name__}"
        raise DatabaseUnavailable(message, _reason(_UNAVAILABLE, error)) from error


def _reason(reasons: Mapping[type[Exception], Reason], error: Exception) -> Reason:
    return next(reason for kind, reason in reasons.items() if isinstance(error, kind))


def session(*, statement_timeout: float, lock_timeout: float, **more: str) -> dict[str, str]:
    """The settings of every session of ours."""
    return {
        "application_name": "kubernaut-datastorage",
        "statement_timeout": f"{round(statement_timeout * 1000)}",
        "lock_timeout": f"{round(lock_timeout * 1000)}",
        # A process that hangs inside a transaction must not hold the ledger's lock for ever.
        "idle_in_transaction_session_timeout": f"{round(statement_timeout * 1000)}",
        "timezone": "UTC",
        **more,
    }


async def connect(
    dsn: str, *, timeout: float, statement_timeout: float, lock_timeout: float, **more: str
) -> asyncpg.Connection:
    """One connection; `more` are settings of its session. Raises CannotStart or DatabaseUnavailable."""
    with translated():
        try:
            return await asyncpg.connect(
                dsn,
                timeout=timeout,
                # Also when the network swallows the answer; PostgreSQL's own limit comes first.
                command_timeout=statement_timeout + 5,
                server_settings=session(statement_timeout=statement_timeout, lock_timeout=lock_timeout, **more),
            )
        except TimeoutError as error:
            raise DatabaseUnavailable(f"PostgreSQL did not answer within {timeout:g} s", Reason.UNREACHABLE) from error


async def connect_as(config: DatabaseConfig, **more: str) -> asyncpg.Connection:
    """One connection with the credentials as they stand in their files now. Raises as `connect` does."""
    try:
        dsn = config.dsn()
    except SettingsError as error:
        raise CannotStart(str(error), Reason.NO_CREDENTIALS) from error
    return await connect(
        dsn,
        timeout=config.connect_timeout,
        statement_timeout=config.statement_timeout,
        lock_timeout=config.lock_timeout,
        **more,
    )


async def connect_writer(config: DatabaseConfig) -> asyncpg.Connection:
    """A connection whose commits are durable, whatever the database's default is. Raises as `connect` does."""
    connection = await connect_as(config)
    with translated():
        if await connection.fetchval("SHOW synchronous_commit") == "off":
            await connection.execute("SET synchronous_commit = on")
    return connection


async def wait_for_database(config: DatabaseConfig) -> asyncpg.Connection:
    """The first writing connection, retried up to `connect_attempts` times. CannotStart at once when rejected."""
    config.dsn()  # at start-up a file that cannot be read is a SettingsError
    for attempt in range(1, config.connect_attempts + 1):
        try:
            return await connect_writer(config)
        except DatabaseUnavailable as error:
            log.warning(
                "PostgreSQL not ready, retrying",
                attempt=attempt,
                max_attempts=config.connect_attempts,
                error=str(error),
            )
            if attempt == config.connect_attempts:
                raise CannotStart(
                    f"{error}; gave up on {config.host}:{config.port} after {attempt} attempts"
                ) from error
        await asyncio.sleep(config.connect_interval)
    raise AssertionError("unreachable: the last attempt returns or raises")


async def require_utf8(connection: asyncpg.Connection) -> None:
    """Raise CannotStart unless the database holds every text; another encoding fails on the first that it lacks."""
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise CannotStart(f"the database has the encoding {encoding}; create one with ENCODING 'UTF8'", Reason.ERROR)


def open_readers(config: DatabaseConfig) -> Any:
    """A pool for reading, to be entered with `async with`; it connects when first used and again after a loss."""

    async def connect_reader(*_: object, **__: object) -> asyncpg.Connection:
        # One statement serves every combination of filters; only a plan made for the given ones is a good one.
        return await connect_as(config, plan_cache_mode="force_custom_plan")

    async def keep_session(_: object) -> None:
        # Nobody changes the session of a reader, so that the driver's own way, a round trip after each query, is for
        # nothing. An open transaction was rolled back before this.
        return

    return asyncpg.create_pool(
        min_size=0,
        reset=keep_session,
        max_size=config.max_open_conns - WRITERS - PROBES,
        max_inactive_connection_lifetime=config.conn_max_idle_time,
        connect=connect_reader,
    )


class DatabaseProbe:
    """Asks whether PostgreSQL would take a write, over a connection of its own, so that readiness never queues."""

    def __init__(self, config: DatabaseConfig) -> None:
        self._config = config
        self._connection: asyncpg.Connection | None = None
        self._turn = asyncio.Lock()

    async def obstacle(self) -> Reason | None:
        """What would keep a write from succeeding now; None when nothing is known."""
        async with self._turn:
            try:
                with translated():
                    async with asyncio.timeout(PROBE_TIMEOUT):
                        return await self._ask()
            except DataStorageError as error:
                self.close()
                return error.reason
            except BaseException:
                self.close()
                raise

    async def _ask(self) -> Reason | None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect_as(self._config)
        row = await queries.fetch_row(self._connection, "write_obstacles")
        if row and row["is_read_only"]:
            return Reason.READ_ONLY
        return Reason.LOCKED if row and row["is_locked"] else None

    def close(self) -> None:
        """Give the connection up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
