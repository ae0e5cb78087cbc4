"""Policies by their hash: `kubernaut policy show`, and where other commands find the text that decided."""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from kubernaut.api.policies import PolicyPayload, correlation_of
from kubernaut.cli.connection import ConnectionOptions, open_store
from kubernaut.cli.errors import CommandError
from kubernaut.cli.policy import sources_of

if TYPE_CHECKING:
    from kubernaut.signalprocessing.policy.sources import Sources


async def find(policy_hash: str, path: Path | None, connection: ConnectionOptions | None) -> "Sources":
    """The policy with a hash: at the path, the built-in one, or from the audit log where a connection is given.

    Raises CommandError when it is at none of them.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.signalprocessing.policy import sources

    if path is not None:
        found = sources_of(path)
        if found.hash != policy_hash:
            text = f"{path} is not the policy that decided: its hash is {found.hash[:12]}, not {policy_hash[:12]}"
            raise CommandError(text, code=2)
        return found
    if policy_hash == sources.builtin().hash:
        return sources.builtin()
    if connection is not None and (found_in_log := await _in_ledger(policy_hash, connection)):
        return found_in_log
    where = "in the export" if connection is None else "in the audit log"
    text = f"the text of policy {policy_hash[:12]} is not {where}"
    raise CommandError(text, hint=f"kubernaut policy show {policy_hash[:12]} > policy.rego, then --policy policy.rego")


async def _in_ledger(policy_hash: str, connection: ConnectionOptions) -> "Sources | None":
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.signalprocessing.explanation.record import policy_of

    async with open_store(connection) as store:
        found = await store.timeline(correlation_of(policy_hash))
    payloads = [msgspec.json.decode(event.event_data, type=PolicyPayload) for event in found.events]
    return policy_of(payloads, policy_hash)
