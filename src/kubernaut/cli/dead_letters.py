"""`kubernaut audit dlq …`: acknowledged events that PostgreSQL can never take as they are.

The commands talk to Valkey, with the configuration of `kubernaut datastorage`; they need no running service.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import cyclopts
import msgspec

from kubernaut.cli.errors import CommandError
from kubernaut.cli.output import Output, OutputOption, emit, note, say, table
from kubernaut.cli.services import ConfigOption, configured

if TYPE_CHECKING:
    from kubernaut.datastorage.dead_letter.stream import DeadLetter, DeadLetterStream

AllOption = Annotated[bool, cyclopts.Parameter(name="--all", negative="", help="Every dead letter that is there now")]

PAGE = 1000


class DeadLetterView(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter as the command prints it."""

    id: str
    moved_at: str
    reason: str
    retry_count: int
    event_id: str | None = None
    event_type: str | None = None
    correlation_id: str | None = None
    message: str
    """What stands in the queue: the event in its envelope."""


async def list_dead_letters(
    *, limit: int = 50, after: str = "", output: OutputOption = Output.TABLE, config: ConfigOption = None
) -> int:
    """List acknowledged events that could not be stored, oldest first, each with the reason.

    Parameters
    ----------
    limit
        Dead letters to print, 1 to 1000.
    after
        The id of the last one of the page before.
    config
        The configuration of `kubernaut datastorage`.
    """
    if not 1 <= limit <= PAGE:
        raise CommandError(f"--limit is {limit}; 1 to {PAGE} is allowed", code=2)
    async with _stream(config) as stream:
        state = await stream.state()
        letters = [_view(letter) for letter in await stream.dead_letters(after=after, limit=limit)]
    if not emit(letters, output):
        rows = [
            (letter.id, letter.moved_at[:19], letter.event_type, letter.correlation_id, letter.reason)
            for letter in letters
        ]
        table(["id", "moved (UTC)", "event", "correlation", "reason"], [tuple(map(_line, row)) for row in rows])
    note(f"{state.dead_letters} dead letters; {state.depth} events wait in the queue for PostgreSQL")
    return 0


async def replay(*ids: str, everything: AllOption = False, config: ConfigOption = None) -> int:
    """Put dead letters back into the queue, to be stored once more. Exit code 1 when one is not there.

    Parameters
    ----------
    ids
        As `kubernaut audit dlq list` prints them.
    config
        The configuration of `kubernaut datastorage`.
    """
    async with _stream(config) as stream:
        missing = 0
        async for id_, letter in _chosen(stream, ids, everything=everything):
            if letter is not None and await stream.replay(letter):
                say(f"replayed {id_}")
            else:
                missing += _missing(id_)
    return 1 if missing else 0


async def drop(*ids: str, everything: AllOption = False, config: ConfigOption = None) -> int:
    """Delete dead letters for good, and print each of them. Exit code 1 when one is not there.

    Parameters
    ----------
    ids
        As `kubernaut audit dlq list` prints them.
    config
        The configuration of `kubernaut datastorage`.
    """
    async with _stream(config) as stream:
        missing = 0
        async for id_, letter in _chosen(stream, ids, everything=everything):
            if letter is not None and await stream.drop(letter):
                say(f"dropped {id_} {_line(letter.message.decode(errors='replace'))}")
            else:
                missing += _missing(id_)
    return 1 if missing else 0


@asynccontextmanager
async def _stream(config: ConfigOption) -> AsyncIterator["DeadLetterStream"]:
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.datastorage.config import DataStorageConfig
    from kubernaut.datastorage.dead_letter.stream import open_stream

    settings = configured(DataStorageConfig, config, "DATASTORAGE").dead_letter_queue
    if not settings.is_enabled:
        raise CommandError(
            "deadLetterQueue.host is not set", code=2, hint="--config with the file of kubernaut datastorage"
        )
    async with open_stream(settings) as stream:
        yield stream


async def _chosen(
    stream: "DeadLetterStream", ids: tuple[str, ...], *, everything: bool
) -> AsyncIterator[tuple[str, "DeadLetter | None"]]:
    if bool(ids) == everything:
        raise CommandError("give ids or --all", code=2, hint="kubernaut audit dlq list")
    for id_ in ids:
        yield id_, await stream.dead_letter(id_)
    if not everything:
        return
    # What is replayed may come back as a dead letter; only those of now are meant.
    left = (await stream.state()).dead_letters
    after = ""
    while left > 0 and (page := await stream.dead_letters(after=after, limit=min(left, PAGE))):
        for letter in page:
            yield letter.id, letter
        left -= len(page)
        after = page[-1].id


def _missing(id_: str) -> int:
    note(f"there is no dead letter {id_!r}")
    return 1


def _view(letter: "DeadLetter") -> DeadLetterView:
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.datastorage.dead_letter import messages

    try:
        event = messages.decode(letter.message).payload
    except messages.InvalidMessage:
        event = None
    return DeadLetterView(
        id=letter.id,
        moved_at=letter.moved_at,
        reason=letter.reason,
        retry_count=letter.final_retry_count,
        event_id=str(event.event_id) if event else None,
        event_type=event.event_type if event else None,
        correlation_id=event.correlation_id if event else None,
        message=letter.message.decode(errors="replace"),
    )


def _line(value: object) -> object:
    """Text from outside on one line, without anything that a terminal would obey."""
    if not isinstance(value, str):
        return value
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in value)
