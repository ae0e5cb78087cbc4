"""`kubernaut audit …`: query and verify the audit log over DataStorage's HTTP API."""

from pathlib import Path
from typing import Annotated

import cyclopts

from kubernaut.api.events import StoredEvent, Verification
from kubernaut.cli.output import Output, OutputOption, emit, note, say, table

UrlOption = Annotated[
    str,
    cyclopts.Parameter(
        name="--url", env_var="KUBERNAUT_DATASTORAGE_URL", help="URL of DataStorage; `kubernaut up` prints it"
    ),
]
TokenOption = Annotated[Path | None, cyclopts.Parameter(name="--token-file", help="File with a bearer token")]

DEFAULT_URL = "http://127.0.0.1:8080"


async def query(
    *,
    correlation_id: str | None = None,
    event_type: str | None = None,
    event_category: str | None = None,
    event_outcome: str | None = None,
    severity: str | None = None,
    since: str | None = None,
    until: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
    output: OutputOption = Output.TABLE,
    url: UrlOption = DEFAULT_URL,
    token_file: TokenOption = None,
) -> int:
    """Find audit events, newest first.

    Parameters
    ----------
    since
        A time such as 2026-08-01T10:00:00Z, or how long ago: 30m, 24h, 7d.
    until
        As `since`.
    limit
        Events per page, 1 to 1000.
    cursor
        The cursor that the previous page printed.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.audit import ClientConfig, open_client

    given = {
        "correlation_id": correlation_id,
        "event_type": event_type,
        "event_category": event_category,
        "event_outcome": event_outcome,
        "severity": severity,
        "since": since,
        "until": until,
        "cursor": cursor,
    }
    filters: dict[str, str | int] = {name: value for name, value in given.items() if value is not None}
    async with open_client(ClientConfig(url=url, token_file=token_file)) as store:
        page = await store.query(filters | {"limit": limit})
    if emit(page, output):
        return 0
    show_events(page.data)
    if page.pagination.has_more:
        note(f"{page.pagination.total} events in total; next page: --cursor {page.pagination.cursor}")
    return 0


async def timeline(
    correlation_id: str,
    /,
    *,
    output: OutputOption = Output.TABLE,
    url: UrlOption = DEFAULT_URL,
    token_file: TokenOption = None,
) -> int:
    """Show all events of one correlation id, in ledger order.

    Parameters
    ----------
    correlation_id
        Name of the RemediationRequest, such as rr-1f0c3a9be2d4-5a5a5a5a.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.audit import ClientConfig, open_client

    async with open_client(ClientConfig(url=url, token_file=token_file)) as store:
        found = await store.timeline(correlation_id)
    if not emit(found, output):
        show_events(found.events)
    if not found.events:
        note(f"no events with correlation id {correlation_id!r}; try: kubernaut audit query")
        return 1
    return 0


async def verify(
    correlation_id: str | None = None,
    /,
    *,
    output: OutputOption = Output.TABLE,
    url: UrlOption = DEFAULT_URL,
    token_file: TokenOption = None,
) -> int:
    """Verify that no event was edited, removed or reordered: of one correlation id, or in the whole ledger.

    Exit code 1 when verification fails; the first bad row is named.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.audit import ClientConfig, open_client

    async with open_client(ClientConfig(url=url, token_file=token_file)) as store:
        result = await store.verify(correlation_id)
    if not emit(result, output):
        show_verification(result)
    return 0 if result.is_valid else 1


def show_events(events: list[StoredEvent]) -> None:
    """One line per event."""
    rows = [
        (
            event.sequence,
            event.event_timestamp.strftime("%Y-%m-%d %H:%M:%S.%f"),
            event.event_type,
            event.event_outcome,
            event.resource_id,
            event.event_hash[:12],
        )
        for event in events
    ]
    table(["seq", "time (UTC)", "event", "outcome", "resource", "hash"], rows)


def show_verification(result: Verification) -> None:
    """The result, and every bad row."""
    scope = result.correlation_id or "whole ledger"
    state = "verified" if result.is_valid else "NOT VERIFIED"
    say(f"{scope}: {state}, {result.verified_events} of {result.total_events} events. {result.message}")
    if result.findings:
        rows = [(found.sequence, found.event_id, found.correlation_id, found.message) for found in result.findings]
        table(["seq", "event", "correlation", "finding"], rows)
