"""`kubernaut audit spool …`: the events that wait on disk for DataStorage, and those that it rejected."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated
from uuid import UUID

import cyclopts
import msgspec

from kubernaut.cli.columns import Table
from kubernaut.cli.errors import CommandError
from kubernaut.cli.output import Output, OutputOption, emit, note, say, table
from kubernaut.ops.visible_text import visible

SPOOL = Table(
    heads=("waiting", "bytes", "oldest", "quarantined", "unreadable", "used by"),
    details=("bytes",),
    droppable=("used by", "oldest"),
    exact=("oldest",),
)
EVENTS = Table(
    heads=("state", "event id", "time (UTC)", "event", "correlation", "reason"),
    details=("time (UTC)",),
    droppable=("correlation", "event", "state"),
    both_ends=("event", "correlation"),
    exact=("event id", "time (UTC)"),
    wrapped=True,
)

SpoolOption = Annotated[
    Path, cyclopts.Parameter(name="--spool", help="Directory of the spool: `spoolDir` of a service")
]


def status(*, spool: SpoolOption, output: OutputOption = Output.TABLE) -> int:
    """Show how much waits, is in quarantine or is damaged; works while a service uses the spool.

    Exit code 1 when events are in quarantine, or were damaged.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.audit import spool_inspector

    found = spool_inspector.status(spool)
    if not emit(found, output):
        table(
            SPOOL,
            [
                (
                    found.waiting,
                    found.waiting_bytes,
                    found.oldest,
                    found.quarantined,
                    found.unreadable + found.lost_before,
                    f"process {found.process}" if found.process else None,
                )
            ],
        )
        for name in found.damaged_files:
            note(f"damaged file, moved aside: {visible(str(spool / name))}")
    return 0 if found.is_sound else 1


def list_events(*, spool: SpoolOption, quarantined: bool = False, output: OutputOption = Output.TABLE) -> int:
    """List the events in the spool, oldest first; works while a service uses it.

    Parameters
    ----------
    quarantined
        Only those in quarantine.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.audit import spool_inspector

    entries = [entry for entry in spool_inspector.entries(spool) if entry.state == "quarantined" or not quarantined]
    if emit(entries, output):
        return 0
    rows = []
    for entry in entries:
        event = entry.decoded()
        rows.append(
            (
                entry.state,
                entry.event_id,
                event.event_timestamp.strftime("%Y-%m-%d %H:%M:%S.%f") if event else None,
                event.event_type if event else "not an audit event",
                event.correlation_id if event else None,
                entry.reason,
            )
        )
    table(EVENTS, rows)
    return 0


def export(*, spool: SpoolOption, quarantined: bool = False) -> int:
    """Print the events in the spool as JSON, one in a line; works while a service uses it.

    Parameters
    ----------
    quarantined
        Only those in quarantine.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.audit import spool_inspector

    unreadable = 0
    for entry in spool_inspector.entries(spool):
        if entry.state != "quarantined" and quarantined:
            continue
        unreadable += entry.event is None
        say(msgspec.json.format(msgspec.json.encode(entry), indent=-1).decode())
    if unreadable:
        note(f"{unreadable} events are not JSON; their `event` is null")
    return 0


def replay(
    event_ids: Annotated[tuple[str, ...], cyclopts.Parameter(name="EVENT-ID")] = (),
    /,
    *,
    spool: SpoolOption,
    all_events: Annotated[bool, cyclopts.Parameter(name="--all", negative="")] = False,
    output: OutputOption = Output.TABLE,
) -> int:
    """Send events of the quarantine again: they wait for the service's next start. The service must not run.

    Exit code 1 when an event is not in quarantine.

    Parameters
    ----------
    event_ids
        Ids of the events; `kubernaut audit spool list --quarantined` prints them.
    all_events
        Every event in quarantine.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.audit import spool_inspector

    if bool(event_ids) == all_events:
        raise CommandError(
            "name the events, or say --all", code=2, hint="kubernaut audit spool list --quarantined --spool DIR"
        )
    wanted = None if all_events else set(_uuids(event_ids))
    result = spool_inspector.replay(spool, wanted)
    if not emit(result, output):
        say(f"{len(result.released)} events wait for the next start; {result.quarantined} are in quarantine")
    missing = sorted(map(str, (wanted or set()) - set(result.released)))
    for name in missing:
        note(f"{name} is not in quarantine, or waits with other content")
    return 1 if missing else 0


def repair(*, spool: SpoolOption, output: OutputOption = Output.TABLE) -> int:
    """Move damaged files aside and keep what can be read of them, as a service does when it starts.

    Exit code 1 when events cannot be read.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.audit import spool_inspector

    result = spool_inspector.repair(spool)
    if not emit(result, output):
        say(f"{result.waiting} events wait, {result.quarantined} are in quarantine, {result.unreadable} cannot be read")
        for name in result.moved:
            note(f"damaged file, moved aside: {visible(str(spool / name))}")
    return 1 if result.unreadable else 0


def _uuids(texts: Iterable[str]) -> Iterable[UUID]:
    for text in texts:
        try:
            yield UUID(text)
        except ValueError:
            raise CommandError(
                f"{text!r} is no event id", code=2, hint="kubernaut audit spool list --quarantined --spool DIR"
            ) from None
