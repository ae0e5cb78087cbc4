"""The file in which `kubernaut audit verify --state FILE` keeps up to where it has verified.

It is worth what the machine is worth on which it lies: who can write to it can have rows left out, and who cannot is
found, also with the database and the service in their hands.
"""

import os
from datetime import datetime
from pathlib import Path

import msgspec

from kubernaut.api.events import LedgerHead, Verification
from kubernaut.cli.errors import CommandError
from kubernaut.ops.json_faults import JSON_FAULTS


class VerifiedHeads(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the file."""

    verified_at: datetime
    heads: list[LedgerHead]


def read(file: Path) -> list[LedgerHead]:
    """The heads of the last verification; none when there is no file. Raises CommandError when it is another file."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return []
    try:
        return msgspec.json.decode(content, type=VerifiedHeads).heads
    except JSON_FAULTS as error:
        raise CommandError(f"{file}: not the state of a verification: {error}", code=2, hint="--full") from error


def write(file: Path, verification: Verification) -> None:
    """Keep the heads of a verification that found nothing, all or nothing."""
    heads = [msgspec.structs.replace(head, verified_after=0) for head in verification.heads]
    state = VerifiedHeads(verified_at=verification.verification_time, heads=heads)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_bytes(msgspec.json.encode(state) + b"\n")
    draft.replace(file)
