"""`kubernaut audit dlq …`: acknowledged events that PostgreSQL can never take as they are.

The commands talk to Valkey, with the configuration of `kubernaut datastorage`; they need no running service. What they
do is recorded in the ledger.
"""

import getpass
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import cyclopts
import msgspec

from kubernaut.cli.columns import Table
from kubernaut.cli.errors import CommandError
from kubernaut.cli.output import Output, OutputOption, emit, note, say, table
from kubernaut.cli.services import ConfigOption, configured

if TYPE_CHECKING:
    from kubernaut.datastorage.dead_letter.operator import DeadLetterOperator
    from kubernaut.datastorage.dead_letter.stream import DeadLetter, DeadLetterStream

    Step = Callable[[Sequence[DeadLetter]], Awaitable[list[bool]]]
    Shown = Callable[[DeadLetter], str]

AllOption = Annotated[bool, cyclopts.Parameter(name="--all", negative="", help="Every dead letter that is there now")]

AsOption = Annotated[str | None, cyclopts.Parameter(name="--as", help="Who does it, for the ledger; your user name")]

PAGE = 1000
DEAD_LETTERS = Table(
    heads=("id", "moved (UTC)", "event", "correlation", "reason"),
    details=("moved (UTC)",),
    droppable=("event", "correlation"),
    both_ends=("event", "correlation"),
    exact=("id", "moved (UTC)"),
    wrapped=True,
)


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
        table(DEAD_LETTERS, [tuple(map(_line, row)) for row in rows])
    note(f"{state.dead_letters} dead letters; {state.depth} events wait in the queue for PostgreSQL")
    return 0


async def replay(
    *ids: str, everything: AllOption = False, as_user: AsOption = None, config: ConfigOption = None
) -> int:
    """Put dead letters back into the queue, to be stored once more. Exit code 1 when one is not there.

    That you do it is recorded in the ledger first, so PostgreSQL has to answer.

    Parameters
    ----------
    ids
        As `kubernaut audit dlq list` prints them.
    config
        The configuration of `kubernaut datastorage`.
    """
    async with _operator(config, as_user) as operator:
        return await _apply(operator.stream, operator.replay, _replayed, ids, everything=everything)


async def drop(*ids: str, everything: AllOption = False, as_user: AsOption = None, config: ConfigOption = None) -> int:
    """Delete dead letters for good, and print each of them. Exit code 1 when one is not there.

    That you do it is recorded in the ledger first, so PostgreSQL has to answer.

    Parameters
    ----------
    ids
        As `kubernaut audit dlq list` prints them.
    config
        The configuration of `kubernaut datastorage`.
    """
    async with _operator(config, as_user) as operator:
        return await _apply(operator.stream, operator.drop, _dropped, ids, everything=everything)


async def _apply(
    stream: "DeadLetterStream", step: "Step", shown: "Shown", ids: tuple[str, ...], *, everything: bool
) -> int:
    """Take a step with the chosen letters; the exit code."""
    missing = 0
    async for letters in _chosen(stream, ids, everything=everything):
        known = [letter for letter in letters if not isinstance(letter, str)]
        for letter, is_done in zip(known, await step(known) if known else [], strict=True):
            if is_done:
                say(shown(letter))
            else:
                missing += _missing(letter.id)
        missing += sum(_missing(letter) for letter in letters if isinstance(letter, str))
    return 1 if missing else 0


def _replayed(letter: "DeadLetter") -> str:
    return f"replayed {letter.id}"


def _dropped(letter: "DeadLetter") -> str:
    return f"dropped {letter.id} {_line(letter.message.decode(errors='replace'))}"


@asynccontextmanager
async def _operator(config: ConfigOption, as_user: str | None) -> AsyncIterator["DeadLetterOperator"]:
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.datastorage.config import DataStorageConfig
    from kubernaut.datastorage.dead_letter.operator import DeadLetterOperator
    from kubernaut.datastorage.dead_letter.seals import Seals
    from kubernaut.datastorage.signing_keys import SigningKeys

    settings = configured(DataStorageConfig, config, "DATASTORAGE")
    seals = Seals(SigningKeys(settings.ledger.key_file))
    async with _stream(config) as stream:
        yield DeadLetterOperator(
            stream=stream, database=settings.database, seals=seals, actor_id=as_user or getpass.getuser()
        )


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
) -> AsyncIterator[list["DeadLetter | str"]]:
    """The letters, some at a time; an id of which there is none stands for itself."""
    if bool(ids) == everything:
        raise CommandError("give ids or --all", code=2, hint="kubernaut audit dlq list")
    if ids:
        yield [await stream.dead_letter(id_) or id_ for id_ in ids]
        return
    # What is replayed may come back as a dead letter; only those of now are meant.
    left = (await stream.state()).dead_letters
    after = ""
    while left > 0 and (page := await stream.dead_letters(after=after, limit=min(left, PAGE))):
        yield [*page]
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
