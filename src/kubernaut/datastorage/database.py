"""Connections to PostgreSQL, and the one place that knows its error classes."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import structlog

from kubernaut.datastorage.config import DatabaseConfig
from kubernaut.datastorage.errors import CannotStart, DatabaseUnavailable, DataStorageError

log = structlog.get_logger("datastorage")

WRITERS = 2
"""Connections that are not for reading."""

_REJECTED = (
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)
_UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InterfaceError,
    asyncpg.PostgresSystemError,
)


@contextmanager
def translated() -> Iterator[None]:
    """Translate the driver's errors: CannotStart where retrying does not help, DatabaseUnavailable where it does."""
    try:
        yield
    except DataStorageError:
        raise
    except _REJECTED as error:
        raise CannotStart(
            f"PostgreSQL rejected the connection: {error}; check user, password and database name"
        ) from error
    except _UNAVAILABLE as error:
        raise DatabaseUnavailable(f"PostgreSQL unavailable: {str(error) or type(error).__name__}") from error


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


async def connect(dsn: str, *, timeout: float, statement_timeout: float, lock_timeout: float) -> asyncpg.Connection:
    """One connection. Raises CannotStart or DatabaseUnavailable."""
    with translated():
        return await asyncpg.connect(
            dsn,
            timeout=timeout,
            # Also when the network swallows the answer; PostgreSQL's own limit comes first.
            command_timeout=statement_timeout + 5,
            server_settings=session(statement_timeout=statement_timeout, lock_timeout=lock_timeout),
        )


async def connect_writer(config: DatabaseConfig) -> asyncpg.Connection:
    """A connection whose commits are durable, whatever the database's default is. Raises as `connect` does."""
    connection = await connect(
        config.dsn(),
        timeout=config.connect_timeout,
        statement_timeout=config.statement_timeout,
        lock_timeout=config.lock_timeout,
    )
    with translated():
        if await connection.fetchval("SHOW synchronous_commit") == "off":
            await connection.execute("SET synchronous_commit = on")
    return connection


async def wait_for_database(config: DatabaseConfig) -> asyncpg.Connection:
    """The first writing connection, retried up to `connect_attempts` times. CannotStart at once when rejected."""
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


def open_readers(config: DatabaseConfig) -> Any:
    """A pool for reading, to be entered with `async with`; it connects when first used and again after a loss."""
    return asyncpg.create_pool(
        config.dsn(),
        min_size=0,
        max_size=config.max_open_conns - WRITERS,
        max_inactive_connection_lifetime=config.conn_max_idle_time,
        timeout=config.connect_timeout,
        command_timeout=config.statement_timeout + 5,
        server_settings=session(
            statement_timeout=config.statement_timeout,
            lock_timeout=config.lock_timeout,
            # One statement serves every combination of filters; only a plan made for the given ones is a good one.
            plan_cache_mode="force_custom_plan",
        ),
    )
