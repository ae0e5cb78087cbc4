"""`kubernaut audit …`: reading and proving the trail over DataStorage's HTTP interface."""

from pathlib import Path
from typing import Annotated

import cyclopts

from kubernaut.api.events import StoredEvent, Verification
from kubernaut.cli.output import Output, OutputOption, emit, note, say, table

UrlOption = Annotated[
    str,
    cyclopts.Parameter(
        name="--url", env_var="KUBERNAUT_DATASTORAGE_URL", help="DataStorage; `kubernaut up` prints its address"
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
        Events on one page, 1 to 1000.
    cursor
        Where the page before ended.
    """
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
        note(f"{page.pagination.total} in all; more: --cursor {page.pagination.cursor}")
    return 0


async def timeline(
    correlation_id: str,
    /,
    *,
    output: OutputOption = Output.TABLE,
    url: UrlOption = DEFAULT_URL,
    token_file: TokenOption = None,
) -> int:
    """Every event of one correlation, in the order of the ledger.

    Parameters
    ----------
    correlation_id
        Name of the RemediationRequest, such as rr-1f0c3a9be2d4-5a5a5a5a.
    """
    from kubernaut.audit import ClientConfig, open_client

    async with open_client(ClientConfig(url=url, token_file=token_file)) as store:
        found = await store.timeline(correlation_id)
    if not emit(found, output):
        show_events(found.events)
    if not found.events:
        note(f"no event has the correlation id {correlation_id!r}; see: kubernaut audit query")
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
    """Prove that nothing was edited, removed or reordered: one correlation, or the whole ledger.

    Exit code 1 when something does not verify; the first bad row is named.
    """
    from kubernaut.audit import ClientConfig, open_client

    async with open_client(ClientConfig(url=url, token_file=token_file)) as store:
        answer = await store.verify(correlation_id)
    if not emit(answer, output):
        show_verification(answer)
    return 0 if answer.is_valid else 1


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


def show_verification(answer: Verification) -> None:
    """The verdict, and every row that is bad."""
    what = answer.correlation_id or "the whole ledger"
    verdict = "verified" if answer.is_valid else "NOT VERIFIED"
    say(f"{what}: {verdict}, {answer.verified_events} of {answer.total_events} events. {answer.message}")
    if answer.findings:
        rows = [(found.sequence, found.event_id, found.correlation_id, found.message) for found in answer.findings]
        table(["seq", "event", "correlation", "finding"], rows)
