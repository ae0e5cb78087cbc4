"""What the page of legal holds shows; pure."""

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from kubernaut.api.lifecycle import HoldList
from kubernaut.datastorage.web.rendering import PREFIX
from kubernaut.datastorage.web.search_view import timeline_url

HOLDS = f"{PREFIX}/holds"


@dataclass(frozen=True, kw_only=True)
class HoldLine:
    """One hold in force."""

    correlation_id: str
    timeline_url: str
    release_url: str
    reason: str
    placed_by: str
    placed_at: datetime
    events: str


@dataclass(frozen=True, kw_only=True)
class HoldForm:
    """What somebody filled in."""

    correlation_id: str = ""
    reason: str = ""
    is_given: bool = False
    """The correlation stands in the address, where it may have characters that no field can hold."""


@dataclass(frozen=True, kw_only=True)
class HoldsView:
    """The whole page."""

    lines: tuple[HoldLine, ...]
    form: HoldForm
    place_url: str
    notice: str
    """What the last action came to, as the list of holds shows it."""

    denial: str
    """Why this person may not place or release; empty when they may."""

    asks_for_name: bool
    """Nobody says who sends the form: there is no authentication and no proxy that names the user."""


def holds_view(found: HoldList, form: HoldForm, *, changed: str, denial: str, asks_for_name: bool) -> HoldsView:
    """The page; `changed` is the correlation of the last action."""
    held = {hold.correlation_id for hold in found.holds}
    notice = ""
    if changed:
        notice = f"{changed} is under legal hold." if changed in held else f"{changed} is not under a legal hold."
    return HoldsView(
        lines=tuple(
            HoldLine(
                correlation_id=hold.correlation_id,
                timeline_url=timeline_url(hold.correlation_id),
                release_url=f"{HOLDS}/release?{urlencode({'correlation_id': hold.correlation_id})}",
                reason=hold.reason,
                placed_by=hold.placed_by,
                placed_at=hold.placed_at,
                events=f"{hold.events_affected:,}",
            )
            for hold in found.holds
        ),
        form=form,
        place_url=holds_url(correlation_id=form.correlation_id) if form.is_given else HOLDS,
        notice=notice,
        denial=denial,
        asks_for_name=asks_for_name,
    )


def holds_url(**query: str) -> str:
    """The page of holds; correlations are in the query, because a form changes line breaks inside a field."""
    return f"{HOLDS}?{urlencode(query)}"
