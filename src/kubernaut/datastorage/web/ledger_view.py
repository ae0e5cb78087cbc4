"""What the page of the ledgers shows; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from kubernaut.api.events import Verification
from kubernaut.api.ledger.checkpoints import Checkpoint, TreeHead
from kubernaut.api.ledger.notes import NoteError, Verifier
from kubernaut.datastorage.web.timeline_view import VerificationView, verification_view


@dataclass(frozen=True, kw_only=True)
class LedgerState:
    """What is known of one ledger."""

    shard: int
    head: TreeHead
    newest: Checkpoint | None
    served: Checkpoint | None
    """The newest one with a quorum of cosignatures."""

    keys: Sequence[Verifier]
    inconsistency: str = ""
    """Why it is not signed any more."""


@dataclass(frozen=True, kw_only=True)
class WitnessLine:
    """A witness, and when it last cosigned as far as the newest checkpoint tells."""

    name: str
    vkey: str
    url: str
    cosigned_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class LedgerCard:
    """One ledger on the page."""

    shard: int
    size: int
    root: str
    state: str
    """`good`, `bad` or `open`."""

    summary: str
    checkpoint: str
    """The signed note as it is served."""

    checkpoint_size: int | None
    served_size: int | None
    keys: tuple[str, ...]
    witnesses: tuple[WitnessLine, ...]


@dataclass(frozen=True, kw_only=True)
class LedgerView:
    """The whole page."""

    cards: tuple[LedgerCard, ...]
    quorum: int
    verification: VerificationView | None
    """The last one of whole ledgers that this process made."""

    verified_at: datetime | None


def ledger_view(
    states: Sequence[LedgerState],
    witnesses: Mapping[str, Verifier],
    quorum: int,
    verification: Verification | None = None,
) -> LedgerView:
    """The page; `witnesses` are the keys by the URL of each."""
    return LedgerView(
        cards=tuple(_card(state, witnesses, quorum) for state in states),
        quorum=quorum,
        verification=verification_view(verification) if verification else None,
        verified_at=verification.verification_time if verification else None,
    )


def _card(state: LedgerState, witnesses: Mapping[str, Verifier], quorum: int) -> LedgerCard:
    color, summary = _summary(state, quorum)
    return LedgerCard(
        shard=state.shard,
        size=state.head.size,
        root=state.head.root.hex(),
        state=color,
        summary=summary,
        checkpoint=str(state.newest) if state.newest else "",
        checkpoint_size=state.newest.head.size if state.newest else None,
        served_size=state.served.head.size if state.served else None,
        keys=tuple(key.vkey for key in state.keys),
        witnesses=tuple(
            WitnessLine(name=key.name, vkey=key.vkey, url=url, cosigned_at=_cosigned_at(state.newest, key))
            for url, key in witnesses.items()
        ),
    )


def _summary(state: LedgerState, quorum: int) -> tuple[str, str]:
    if state.inconsistency:
        return "bad", f"Nothing is signed any more: {state.inconsistency}. Run kubernaut audit verify."
    if state.newest is None:
        reason = "no checkpoint was made yet" if state.keys else "ledger.keyFile is not set"
        return "open", f"Not signed: {reason}."
    if state.head.size < state.newest.head.size:
        return "bad", f"Truncated: {state.newest.head.size:,} leaves were signed, {state.head.size:,} are there."
    waiting = state.head.size - state.newest.head.size
    later = f"; the last {waiting:,} wait for the next checkpoint" if waiting else ""
    if quorum and (state.served is None or state.served.head != state.newest.head):
        return "open", f"Signed up to {state.newest.head.size:,}{later}; a quorum of {quorum} witnesses is missing."
    return "good", f"Signed up to {state.newest.head.size:,} of {state.head.size:,} events{later}."


def _cosigned_at(checkpoint: Checkpoint | None, witness: Verifier) -> datetime | None:
    """When the witness signed the checkpoint; None also where its signature is wrong."""
    if checkpoint is None:
        return None
    try:
        (seconds,) = (signature.cosigned_at for signature in checkpoint.note.verified([witness]))
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (NoteError, ValueError, OverflowError, OSError):
        return None
