"""The queue as a stream in Valkey: the commands, and the one place that knows the driver's errors.

Entries leave the head of the stream only after they are committed. So the stream holds every event that was
acknowledged with 202 and is not yet in PostgreSQL, and a second process that reads the same entries repeats what the
first did instead of passing it by. Scripts make each change whole: a batch is appended completely or not at all.
"""

import functools
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Any, NamedTuple

import valkey.asyncio
from valkey.exceptions import ConnectionError as ValkeyConnectionError
from valkey.exceptions import OutOfMemoryError, ResponseError, ValkeyError

from kubernaut.datastorage.dead_letter.config import DeadLetterConfig
from kubernaut.datastorage.dead_letter.errors import CapacityExceeded, NotDurable, QueueUnavailable

QUEUE = "audit:dlq:events"
DEAD_LETTERS = "audit:dead-letter:events"
BYTES = "audit:dlq:events:bytes"
LOCK = "audit:dlq:events:drain-lock"

LOCK_TTL = 5.0
"""Seconds after which the lock of a process that has died is free."""

MAX_CONNECTIONS = 16
MAX_READ_BYTES = 16 * 2**20
"""Bytes of messages that one read asks for, judged by their average size."""

_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
_REQUIRED = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}


class QueuedMessage(NamedTuple):
    """An entry of the queue."""

    id: str
    message: bytes


class QueueState(NamedTuple):
    """What the queue holds at one moment."""

    depth: int
    dead_letters: int
    bytes: int
    is_draining: bool
    """Whether a process is moving events to PostgreSQL, and has moved some since it began."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """An acknowledged event that could not be stored."""

    id: str
    message: bytes
    reason: str
    original_id: str
    moved_at: str
    final_retry_count: int


class DeadLetterStream:
    """One server; see `open_stream`. Every method raises QueueUnavailable when it does not answer as it must."""

    def __init__(self, client: Any, config: DeadLetterConfig) -> None:
        self._client = client
        self._config = config
        self._is_checked = False
        self._scripts = {
            name: client.register_script(_lua(name))
            for name in ("enqueue", "remove", "move", "extend_lock", "release_lock")
        }

    async def require_durability(self) -> None:
        """Raise NotDurable when the server could lose what it has acknowledged, and the configuration forbids that.

        Checked once for each time that the server was lost, because another one may have taken its place.
        """
        if self._is_checked:
            return
        if self._config.require_durability:
            for name, required in _REQUIRED.items():
                actual = await self._setting(name)
                if actual != required:
                    raise NotDurable(
                        f"{self._address} could lose acknowledged events: {name} is {actual!r} and must be "
                        f"{required!r}; change it, or set deadLetterQueue.requireDurability to false"
                    )
        self._is_checked = True

    async def state(self) -> QueueState:
        with self._translated():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.xlen(QUEUE).xlen(DEAD_LETTERS).get(BYTES).get(LOCK)
            depth, dead_letters, size, lock = await pipeline.execute()
        is_draining = bool(lock and lock.endswith(b":draining"))
        return QueueState(depth, dead_letters, max(int(size or 0), 0), is_draining)

    async def enqueue(self, messages: Sequence[bytes]) -> tuple[int, int]:
        """Append all messages or none; on disk when this returns. The events and bytes held afterwards.

        Raises CapacityExceeded.
        """
        await self.require_durability()
        limits = [self._config.max_events, self._config.max_size]
        appended, events, size = await self._run("enqueue", [QUEUE, DEAD_LETTERS, BYTES], [*limits, *messages])
        if not appended:
            raise CapacityExceeded(
                f"the dead-letter queue holds {events} events of {size} bytes and takes no {len(messages)} more"
            )
        return events, size

    async def head(self, state: QueueState, max_events: int) -> list[QueuedMessage]:
        """The oldest entries, in order."""
        average = max(state.bytes // max(state.depth + state.dead_letters, 1), 1)
        count = min(max(MAX_READ_BYTES // average, 1), max_events)
        with self._translated():
            found = await self._client.xrange(QUEUE, count=count)
        return [QueuedMessage(id_.decode(), fields.get(b"message", b"")) for id_, fields in found]

    async def remove(self, stored: Sequence[QueuedMessage]) -> None:
        """Delete entries whose events are committed."""
        if stored:
            sizes = [value for entry in stored for value in (entry.id, len(entry.message))]
            await self._run("remove", [QUEUE, DEAD_LETTERS, BYTES], sizes)

    async def requeue(self, entry: QueuedMessage, message: bytes) -> None:
        """Move an entry behind everything that is in the queue now, as another message."""
        growth = len(message) - len(entry.message)
        await self._run("move", [QUEUE, QUEUE, BYTES], [entry.id, growth, "message", message])

    async def give_up(self, entry: QueuedMessage, reason: str, retry_count: int) -> None:
        """Move an entry to the dead letters."""
        fields = {
            "message": entry.message,
            "original_id": entry.id,
            "moved_at": datetime.now(UTC).isoformat(),
            "final_retry_count": retry_count,
            "reason": reason,
        }
        pairs = [value for pair in fields.items() for value in pair]
        await self._run("move", [QUEUE, DEAD_LETTERS, BYTES], [entry.id, 0, *pairs])

    async def acquire_lock(self, token: str) -> bool:
        """Become the process that drains, unless another one is."""
        with self._translated():
            return bool(await self._client.set(LOCK, f"{token}:probing", nx=True, px=round(LOCK_TTL * 1000)))

    async def extend_lock(self, token: str) -> bool:
        """Say that the queue is being drained; False when the lock was lost."""
        return bool(await self._run("extend_lock", [LOCK], [token, "draining", round(LOCK_TTL * 1000)]))

    async def release_lock(self, token: str) -> None:
        await self._run("release_lock", [LOCK], [token])

    async def dead_letters(self, *, after: str = "", limit: int = 1000) -> list[DeadLetter]:
        """Events that could not be stored, oldest first, behind the one of the id `after`."""
        with self._translated():
            found = await self._client.xrange(DEAD_LETTERS, min=f"({after}" if after else "-", count=limit)
        return [_dead_letter(id_.decode(), fields) for id_, fields in found]

    async def dead_letter(self, id_: str) -> DeadLetter | None:
        """One of them, or None."""
        if not _ID.fullmatch(id_):
            return None
        with self._translated():
            found = await self._client.xrange(DEAD_LETTERS, min=id_, max=id_)
        return _dead_letter(id_, found[0][1]) if found else None

    async def replay(self, letter: DeadLetter, message: bytes) -> bool:
        """Move a dead letter to the end of the queue, as `message`; False when it is no longer there."""
        growth = len(message) - len(letter.message)
        return bool(await self._run("move", [DEAD_LETTERS, QUEUE, BYTES], [letter.id, growth, "message", message]))

    async def drop(self, letter: DeadLetter) -> bool:
        """Delete a dead letter for good; False when it is no longer there."""
        return bool(await self._run("remove", [DEAD_LETTERS, QUEUE, BYTES], [letter.id, len(letter.message)]))

    @property
    def _address(self) -> str:
        return f"Valkey at {self._config.host}:{self._config.port}"

    async def _setting(self, name: str) -> str:
        try:
            with self._translated():
                found = await self._client.config_get(name)
        except QueueUnavailable as error:
            if not isinstance(error.__cause__, ResponseError):
                raise
            raise NotDurable(
                f"{self._address} does not tell its settings ({error.__cause__}); allow CONFIG GET, or set "
                "deadLetterQueue.requireDurability to false"
            ) from error
        return str(found.get(name, ""))

    async def _run(self, script: str, keys: Sequence[str], arguments: Sequence[object]) -> Any:
        with self._translated():
            return await self._scripts[script](keys=keys, args=arguments)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OutOfMemoryError as error:
            raise CapacityExceeded(f"{self._address} has reached its maxmemory") from error
        except ResponseError as error:
            if str(error).startswith("OOM"):
                raise CapacityExceeded(f"{self._address} has reached its maxmemory") from error
            raise QueueUnavailable(f"{self._address} rejected a command: {error}") from error
        except (ValkeyError, OSError, TimeoutError) as error:
            if isinstance(error, (ValkeyConnectionError, OSError)):
                self._is_checked = False
            raise QueueUnavailable(f"{self._address} unavailable: {str(error) or type(error).__name__}") from error


@asynccontextmanager
async def open_stream(config: DeadLetterConfig) -> AsyncIterator[DeadLetterStream]:
    """Connections that are made when they are first used, and again after a loss. Raises SettingsError."""
    username, password = config.credentials()
    settings: dict[str, Any] = {
        "host": config.host,
        "port": config.port,
        "db": config.database,
        "username": username,
        "password": password,
        "socket_timeout": config.timeout,
        "socket_connect_timeout": config.timeout,
        "protocol": 2,
    }
    connection_class: type[Any] = valkey.asyncio.Connection
    if config.tls:
        connection_class = valkey.asyncio.SSLConnection
        settings["ssl_check_hostname"] = True
        if config.tls_ca_cert:
            settings["ssl_ca_certs"] = str(config.tls_ca_cert)
    pool = valkey.asyncio.BlockingConnectionPool(
        max_connections=MAX_CONNECTIONS,
        timeout=config.timeout,  # type: ignore[arg-type]  # it is handed to asyncio, which takes fractions
        connection_class=connection_class,
        **settings,
    )
    client = valkey.asyncio.Valkey.from_pool(pool)
    try:
        yield DeadLetterStream(client, config)
    finally:
        await client.aclose()


def _dead_letter(id_: str, fields: dict[bytes, bytes]) -> DeadLetter:
    return DeadLetter(
        id=id_,
        message=fields.get(b"message", b""),
        reason=_text(fields, b"reason"),
        original_id=_text(fields, b"original_id"),
        moved_at=_text(fields, b"moved_at"),
        final_retry_count=int(_text(fields, b"final_retry_count") or 0),
    )


def _text(fields: dict[bytes, bytes], name: bytes) -> str:
    return fields.get(name, b"").decode(errors="replace")


@functools.cache
def _lua(name: str) -> str:
    return resources.files("kubernaut.datastorage.dead_letter").joinpath("lua", f"{name}.lua").read_text()
