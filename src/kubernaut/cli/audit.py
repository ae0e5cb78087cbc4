"""`kubernaut audit …`: query and verify the audit log over DataStorage's HTTP API."""

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts
import msgspec

from kubernaut.api.events import EventPage, StoredEvent, Verification, VerifyRequest
from kubernaut.cli.columns import Table
from kubernaut.cli.connection import ConnectionOptions, open_store
from kubernaut.cli.errors import CommandError
from kubernaut.cli.output import Output, OutputOption, emit, note, say, table, terminal_columns
from kubernaut.ops.visible_text import visible

if TYPE_CHECKING:
    from kubernaut.audit import DataStorageClient

MAX_PAGE = 1000
"""Events that DataStorage returns in one page."""
EVENTS = Table(
    heads=("seq", "time (UTC)", "event", "outcome", "namespace", "resource", "hash"),
    details=("hash", "namespace", "outcome"),
    droppable=("seq",),
    both_ends=("event", "resource"),
    exact=("time (UTC)", "seq"),
)
FINDINGS = Table(
    heads=("seq", "event", "correlation", "finding"),
    details=("event",),
    droppable=("correlation",),
    both_ends=("correlation",),
    exact=("seq", "event"),
    wrapped=True,
)
NARROW = 120
"""Columns of a terminal below which the type of an event is worth more than microseconds."""


@cyclopts.Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EventFilters:
    """Which events; the field names are the parameters of DataStorage."""

    namespace: Annotated[str | None, cyclopts.Parameter(name=["--namespace", "-n"])] = None
    """Namespace of the object that the event is about."""

    resource_type: Annotated[str | None, cyclopts.Parameter(name=["--resource-type", "--resource-kind"])] = None
    """Kind of that object, such as Deployment; only with its name."""

    resource_id: Annotated[str | None, cyclopts.Parameter(name=["--resource-id", "--resource-name"])] = None
    """Name of that object."""

    correlation_id: str | None = None
    """Name of the RemediationRequest."""

    event_type: str | None = None
    """Such as signalprocessing.classification.decision."""

    event_category: str | None = None
    """Such as signalprocessing or gateway."""

    event_outcome: str | None = None
    """success, failure or pending."""

    severity: str | None = None
    """Such as critical."""

    actor_type: str | None = None
    """service, user or external; only with the actor's id."""

    actor_id: str | None = None
    """Who did it, such as signalprocessing-controller."""

    parent_event_id: str | None = None
    """Id of the event that led to it."""

    detail_key: str | None = None
    """A key of the event's data, such as environment; only with a value."""

    detail_value: str | None = None
    """The value under that key."""

    since: str | None = None
    """A time such as 2026-08-01T10:00:00Z, or how long ago: 30m, 24h, 7d."""

    until: str | None = None
    """As `since`."""


async def query(
    filters: EventFilters | None = None,
    *,
    limit: int = 50,
    offset: int = 0,
    cursor: str | None = None,
    output: OutputOption = Output.TABLE,
    connection: ConnectionOptions | None = None,
) -> int:
    """Find audit events, newest first. Several filters are combined by AND.

    Parameters
    ----------
    limit
        How many events.
    offset
        How many of the newest events to leave out.
    cursor
        The cursor that the previous page printed.
    """
    if limit < 1:
        raise CommandError(f"--limit {limit}: at least 1 is expected", code=2)
    given: dict[str, str | int] = {name: value for name, value in asdict(filters or EventFilters()).items() if value}
    given |= {"cursor": cursor} if cursor else {}
    given |= {"offset": offset} if offset else {}
    async with open_store(connection) as store:
        page = await _pages(store, given, limit)
    if emit(page, output, [str(event.event_id) for event in page.data]):
        return 0
    show_events(page.data, is_wide=output.is_wide)
    if not page.data:
        note("No such events found." if given else "No events found.")
    if page.pagination.has_more:
        total, more = page.pagination.total, "" if page.pagination.total_is_exact else "more than "
        note(visible(f"{len(page.data)} of {more}{total} events; next page: --cursor {page.pagination.cursor}"))
    return 0


async def _pages(store: "DataStorageClient", given: dict[str, str | int], limit: int) -> EventPage:
    """As many pages as `limit` needs, as one."""
    events: list[StoredEvent] = []
    while True:
        page = await store.query(given | {"limit": min(limit - len(events), MAX_PAGE)})
        events += page.data
        if len(events) >= limit or not page.pagination.has_more or not page.pagination.cursor:
            break
        given = {name: value for name, value in given.items() if name != "offset"}
        given["cursor"] = page.pagination.cursor
    return EventPage(data=events, pagination=msgspec.structs.replace(page.pagination, limit=limit))


async def timeline(
    correlation_id: str,
    /,
    *,
    output: OutputOption = Output.TABLE,
    connection: ConnectionOptions | None = None,
) -> int:
    """Show all events of one correlation id, in causal order.

    Parameters
    ----------
    correlation_id
        Name of the RemediationRequest, such as rr-1f0c3a9be2d4-5a5a5a5a.
    """
    async with open_store(connection) as store:
        found = await store.timeline(correlation_id)
    if not emit(found, output, [str(event.event_id) for event in found.events]) and found.events:
        show_events(found.events, is_wide=output.is_wide)
    if not found.events:
        note(f"No events found for correlation_id {visible(correlation_id)}; try: kubernaut audit query")
        return 1
    return 0


@cyclopts.Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TrustedHead:
    """A checkpoint that was kept elsewhere."""

    shard: int | None = None
    """Verify only this ledger; default: all of them."""

    checkpoint: Path | None = None
    """File with a checkpoint kept from before: the ledger must still begin with what it signs."""

    key: list[str] | None = None
    """Public key (vkey) of the log, by which the checkpoint or receipt must be signed; more than one may be given."""

    state: Annotated[Path | None, cyclopts.Parameter(env_var="KUBERNAUT_AUDIT_STATE")] = None
    """File that keeps up to where the ledgers were verified: only what is new is verified, and the file is updated."""

    full: Annotated[bool, cyclopts.Parameter(negative="")] = False
    """Verify everything again, whatever the state file says."""


async def verify(
    subject: str | None = None,
    /,
    trusted: TrustedHead | None = None,
    *,
    output: OutputOption = Output.TABLE,
    connection: ConnectionOptions | None = None,
) -> int:
    """Verify that no event was edited, removed or reordered: of one correlation id, or in the whole ledger.

    Exit code 1 when verification fails, each bad row is named, or when there is no such correlation id.
    The size and root of the ledger are printed; keep them somewhere else, or with --state in a file.
    An edit of an event that was verified before is found by --full only.

    Parameters
    ----------
    subject
        A correlation id; with --key and without --checkpoint, the file of a receipt, for which no DataStorage is asked.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.cli import ledger, verified_heads

    trusted = trusted or TrustedHead()
    if trusted.key and trusted.checkpoint is None:
        if subject is None:
            raise CommandError("--key needs what it signs: --checkpoint FILE, or the file of a receipt", code=2)
        return ledger.verify_receipt(Path(subject), trusted.key)
    if subject is not None and _is_file(subject):
        text = f"{subject} is a file: a receipt or an export is verified with the log's public key"
        raise CommandError(text, code=2, hint=f"kubernaut audit verify {shlex.quote(subject)} --key VKEY")
    request = _verify_request(subject, trusted)
    async with open_store(connection) as store:
        result = await store.verify(request)
    if trusted.state and result.is_valid:
        verified_heads.write(trusted.state, result)
    if not emit(result, output, [str(found.event_id or found.sequence) for found in result.findings]):
        show_verification(result)
    is_missing = subject is not None and not result.total_events and not result.findings
    if is_missing:
        note(f"No events found for correlation_id {visible(subject or '')}; try: kubernaut audit query")
    return 0 if result.is_valid and not is_missing else 1


def _is_file(subject: str) -> bool:
    return Path(subject).is_file()


def _verify_request(correlation_id: str | None, trusted: TrustedHead) -> VerifyRequest:
    if correlation_id is not None and (trusted.checkpoint or trusted.shard is not None):
        option = "--checkpoint" if trusted.checkpoint else "--shard"
        raise CommandError(f"{option} verifies a whole ledger; leave out the correlation id", code=2)
    if trusted.state:
        return _since(correlation_id, trusted, trusted.state)
    if trusted.checkpoint is None:
        return VerifyRequest(correlation_id=correlation_id, shard=trusted.shard)
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.cli import ledger

    checkpoint = ledger.read_checkpoint(trusted.checkpoint, trusted.key or [])
    shard = _shard(checkpoint.origin, trusted)
    if not checkpoint.head.size:
        return VerifyRequest(shard=shard)  # every ledger begins with the empty one
    return VerifyRequest(head_sequence=checkpoint.head.size, head_hash=checkpoint.head.root.hex(), shard=shard)


def _since(correlation_id: str | None, trusted: TrustedHead, state: Path) -> VerifyRequest:
    """Every ledger from where the file says that it was verified."""
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.cli import verified_heads

    if correlation_id is not None or trusted.shard is not None or trusted.checkpoint:
        raise CommandError("--state is of every ledger; leave out the correlation id, --shard and --checkpoint", code=2)
    return VerifyRequest(verified_heads=[] if trusted.full else verified_heads.read(state))


def _shard(origin: str, trusted: TrustedHead) -> int:
    """The ledger of a checkpoint, which its origin ends with. Raises CommandError when another one is asked for."""
    last = origin.rpartition("/")[2]
    named = int(last) if last.isascii() and last.isdecimal() and len(last) < 5 else None
    if named is not None and trusted.shard is not None and named != trusted.shard:
        raise CommandError(f"--shard {trusted.shard}: the checkpoint is of ledger {named} ({origin})", code=2)
    return trusted.shard if trusted.shard is not None else named or 0


def show_events(events: list[StoredEvent], *, is_wide: bool = False) -> None:
    """One line per event; a terminal that is too narrow for all columns gets times to the second."""
    columns = terminal_columns()
    times = "%Y-%m-%d %H:%M:%S" if columns is not None and columns < NARROW and not is_wide else "%Y-%m-%d %H:%M:%S.%f"
    rows = [
        (
            event.sequence,
            event.event_timestamp.strftime(times),
            event.event_type,
            event.event_outcome,
            event.namespace,
            "/".join(part for part in (event.resource_type, event.resource_id) if part),
            event.event_hash[:12],
        )
        for event in events
    ]
    table(EVENTS, rows, is_wide=is_wide)


def show_verification(result: Verification) -> None:
    """The result, every bad row, and the heads to keep."""
    scope = "whole ledger" if result.correlation_id is None else visible(result.correlation_id)
    state = "verified" if result.is_valid else "NOT VERIFIED"
    if result.total_events or not result.is_valid:
        counts = f"{result.verified_events} of {result.total_events} events"
        say(f"{scope}: {state}, {counts}. {visible(result.message)}")
    elif result.correlation_id is None:
        say(f"{scope}: {state}, no events yet.")
    if result.findings:
        rows = [(found.sequence, found.event_id, found.correlation_id, found.message) for found in result.findings]
        table(FINDINGS, rows)
    for head in result.heads:
        since = f", verified before up to {head.verified_after}" if head.verified_after else ""
        say(visible(f"ledger {head.shard}: size {head.head_sequence}, root {head.head_hash}{since}"))
