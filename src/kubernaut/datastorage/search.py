"""Searching the audit log by query parameters, the same for the API and for pages."""

from datetime import datetime

from starlette.datastructures import QueryParams

from kubernaut.api.events import EventPage
from kubernaut.api.problems import Slug
from kubernaut.api.vocabulary import EMITTERS
from kubernaut.datastorage import parameters
from kubernaut.datastorage.event_pages import InvalidCursor
from kubernaut.datastorage.reader import Reader
from kubernaut.ops.http.problems import RequestRejected


async def find_events(read: Reader, given: QueryParams, now: datetime) -> EventPage:
    """One page of events, newest first. Raises RequestRejected for parameters that can match nothing."""
    filters, page = parameters.query(given, now)
    try:
        found = await read.page(filters, page)
    except InvalidCursor as error:
        raise RequestRejected(Slug.VALIDATION, str(error), {"cursor": str(error)}) from error
    if filters.event_type and not found.data:
        await _check_event_type(read, filters.event_type)
    return found


async def _check_event_type(read: Reader, event_type: str) -> None:
    """Refuse a type that nobody writes and no event has; a service that is not ours may have types of its own."""
    if event_type.partition(".")[0] in EMITTERS or await read.has_event_type(event_type):
        return
    reason = f"no event has the type {event_type!r}; the types of our services begin with {', '.join(EMITTERS)}"
    raise RequestRejected(Slug.VALIDATION, f"invalid query parameters: {reason}", {"event_type": reason})
