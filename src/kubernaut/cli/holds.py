"""`kubernaut audit hold …`, `audit erase` and `audit export`: what is kept, what is not, and what is taken out."""

import contextlib
import getpass
import shlex
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

import cyclopts

from kubernaut.api.lifecycle import (
    EraseEvents,
    EventsErased,
    HoldList,
    HoldPlaced,
    HoldReleased,
    PlaceHold,
    ReleaseHold,
)
from kubernaut.cli.columns import Table
from kubernaut.cli.connection import ConnectionOptions, open_store
from kubernaut.cli.errors import CommandError
from kubernaut.cli.output import Output, OutputOption, emit, note, say, table
from kubernaut.ops.visible_text import visible

AsOption = Annotated[
    str | None,
    cyclopts.Parameter(name="--as", help="Who does it, where DataStorage does not authenticate; your user name"),
]

_HOLDS = "/api/v1/audit/legal-hold"
HOLDS = Table(
    heads=("correlation", "events", "placed by", "placed at", "reason"),
    details=("placed at", "events"),
    droppable=("placed by",),
    exact=("correlation", "placed at"),
    wrapped=True,
)


async def place(
    correlation_id: str,
    /,
    *,
    reason: str,
    as_user: AsOption = None,
    output: OutputOption = Output.TABLE,
    connection: ConnectionOptions | None = None,
) -> int:
    """Hold all events of a correlation id, events that arrive later included.

    Parameters
    ----------
    reason
        Why, such as the name of a lawsuit.
    """
    body = PlaceHold(correlation_id=correlation_id, reason=reason)
    async with open_store(connection) as store:
        placed = await store.call("POST", _HOLDS, HoldPlaced, body=body, user=as_user or getpass.getuser())
    if not emit(placed, output):
        said = f"{correlation_id} is under a legal hold, placed by {placed.placed_by}: {placed.events_affected} events"
        say(visible(said))
    return 0


async def list_holds(*, output: OutputOption = Output.TABLE, connection: ConnectionOptions | None = None) -> int:
    """List every legal hold in force, oldest first."""
    async with open_store(connection) as store:
        found = await store.call("GET", _HOLDS, HoldList)
    if not emit(found, output):
        rows = [
            (hold.correlation_id, hold.events_affected, hold.placed_by, hold.placed_at, hold.reason)
            for hold in found.holds
        ]
        table(HOLDS, rows)
    return 0


async def release(
    correlation_id: str,
    /,
    *,
    reason: str,
    as_user: AsOption = None,
    output: OutputOption = Output.TABLE,
    connection: ConnectionOptions | None = None,
) -> int:
    """End the legal hold on a correlation id.

    Parameters
    ----------
    reason
        Why it may end.
    """
    path = f"{_HOLDS}/{quote(correlation_id, safe='')}"
    async with open_store(connection) as store:
        released = await store.call(
            "DELETE", path, HoldReleased, body=ReleaseHold(release_reason=reason), user=as_user or getpass.getuser()
        )
    if not emit(released, output):
        say(visible(f"the legal hold on {correlation_id} has ended, released by {released.released_by}"))
    return 0


async def erase(
    event_ids: list[str] | None = None,
    /,
    *,
    order: str,
    correlation_id: str | None = None,
    reason: str = "",
    as_user: AsOption = None,
    output: OutputOption = Output.TABLE,
    connection: ConnectionOptions | None = None,
) -> int:
    """Erase the payloads of events, or of one correlation id, by order; this cannot be undone.

    Parameters
    ----------
    order
        Reference of the order, such as that of a data subject's request.
    """
    try:
        ids = [UUID(text) for text in event_ids or ()]
    except ValueError as error:
        raise CommandError(f"event ids are UUIDs: {error}", code=2) from error
    body = EraseEvents(order=order, event_ids=ids, correlation_id=correlation_id, reason=reason)
    async with open_store(connection) as store:
        erased = await store.call(
            "POST", "/api/v1/audit/erasures", EventsErased, body=body, user=as_user or getpass.getuser()
        )
    if not emit(erased, output):
        say(visible(f"{erased.events_erased} events erased by order {order}"))
    return 0


async def export(
    file: Path | None = None,
    /,
    *,
    correlation_id: str | None = None,
    event_category: str | None = None,
    since: str | None = None,
    until: str | None = None,
    as_user: AsOption = None,
    connection: ConnectionOptions | None = None,
) -> int:
    """Write events with their ledger entries, proofs and signed checkpoints as NDJSON, to a file or standard output.

    `kubernaut audit verify FILE --key VKEY` checks the file with neither database nor network.

    Parameters
    ----------
    since
        A time such as 2026-08-01T10:00:00Z, or how long ago: 30m, 24h, 7d.
    until
        As `since`.
    """
    given = {
        "correlation_id": correlation_id,
        "event_category": event_category,
        "start_time": since,
        "end_time": until,
        "format": "ndjson",
    }
    filters = {name: value for name, value in given.items() if value is not None}
    user = as_user or getpass.getuser()
    # Closed here also when the reader of a pipe has exited: the loop's end would do it in the middle of a read.
    async with open_store(connection) as store, contextlib.aclosing(store.export(filters, user=user)) as chunks:
        if file is None:
            async for chunk in chunks:
                sys.stdout.buffer.write(chunk)
            return 0
        with file.open("wb") as output:
            async for chunk in chunks:
                output.write(chunk)
    note(f"check it with: kubernaut audit verify {shlex.quote(str(file))} --key VKEY")
    return 0
