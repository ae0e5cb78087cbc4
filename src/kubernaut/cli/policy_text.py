"""Policies by their hash: `kubernaut policy show`, and where other commands find the text that decided."""

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts
import msgspec

from kubernaut.api.events import StoredEvent
from kubernaut.api.policies import PolicyPayload, correlation_of
from kubernaut.api.vocabulary import EventType
from kubernaut.cli.connection import ConnectionOptions, open_store
from kubernaut.cli.errors import CommandError
from kubernaut.cli.output import Output, OutputOption, emit, note, say
from kubernaut.cli.policy import sources_of
from kubernaut.ops.visible_text import visible

if TYPE_CHECKING:
    from kubernaut.signalprocessing.explanation.record import Export
    from kubernaut.signalprocessing.policy.sources import Sources

_HASH_LENGTH = 64
_MAX_PAGE = 1000


async def show(
    policy_hash: str,
    /,
    *,
    export: Annotated[
        list[Path] | None,
        cyclopts.Parameter(help="File that `kubernaut audit export` wrote; DataStorage is not asked then"),
    ] = None,
    archive: Annotated[
        Path | None, cyclopts.Parameter(help="Directory of a controller's accepted policies, `classifier.archiveDir`")
    ] = None,
    directory: Annotated[Path | None, cyclopts.Parameter(help="Write the files into this directory instead")] = None,
    output: OutputOption = Output.TABLE,
    connection: ConnectionOptions | None = None,
) -> int:
    """Print the text of a policy that decided, or was rejected, by its hash.

    A policy of one file is printed as it was, to the byte; of several, each after a line with its name.

    Parameters
    ----------
    policy_hash
        The hash as decisions name it, or its first characters, at least four.
    """
    policy_hash = policy_hash.lower()
    if not re.fullmatch("[0-9a-f]{4,64}", policy_hash):
        raise CommandError(f"{policy_hash!r} is no hash of a policy: 4 to 64 hexadecimal digits are expected", code=2)
    found = await _find(policy_hash, export or [], archive, connection)
    if found is None:
        raise CommandError(f"no policy with a hash of {policy_hash} found", hint=_HINT)
    if directory is not None:
        _write(found, directory)
    elif not emit({"hash": found.hash, "form": found.form, "files": dict(found.files)}, output, [found.hash]):
        _print(found)
    return 0


_HINT = "kubernaut audit query --event-type signalprocessing.policy.loaded"


async def find(
    policy_hash: str, path: Path | None, exports: "Sequence[Export]", connection: ConnectionOptions | None
) -> "Sources":
    """The policy that decided: at the path, in an export, built in, or in the audit log where there is a connection.

    Raises CommandError when it is at none of them.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.signalprocessing.explanation.record import policy_of
    from kubernaut.signalprocessing.policy import sources

    if path is not None:
        found = sources_of(path)
        if found.hash != policy_hash:
            text = f"{path} is not the policy that decided: its hash is {found.hash[:12]}, not {policy_hash[:12]}"
            raise CommandError(text, code=2)
        return found
    for export in exports:
        if exported := policy_of(export.policies, policy_hash):
            return exported
    if policy_hash == sources.builtin().hash:
        return sources.builtin()
    if connection is not None and (logged := await _in_ledger(policy_hash, connection)):
        return logged
    where = "in the audit log" if connection else "in the export"
    text = f"the text of policy {policy_hash[:12]} is not {where}"
    hint = f"--policy FILE, with the text of: kubernaut policy show {policy_hash[:12]}"
    if connection is None:
        hint += f"; or a second --export of: kubernaut audit export FILE --correlation-id {correlation_of(policy_hash)}"
    raise CommandError(text, hint=hint)


async def _find(
    policy_hash: str, exports: list[Path], archive: Path | None, connection: ConnectionOptions | None
) -> "Sources | None":
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.signalprocessing.explanation.record import policy_of, read_export
    from kubernaut.signalprocessing.policy import sources
    from kubernaut.signalprocessing.policy.archive import PolicyArchive

    if archive is not None:
        return PolicyArchive(archive).find(policy_hash)
    if exports:
        payloads = [payload for path in exports for payload in read_export(path).policies]
        return policy_of(payloads, _whole(policy_hash, payloads))
    if sources.builtin().hash.startswith(policy_hash):
        return sources.builtin()
    return await _in_ledger(policy_hash, connection or ConnectionOptions())


async def _in_ledger(policy_hash: str, connection: ConnectionOptions) -> "Sources | None":
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.signalprocessing.explanation.record import policy_of

    async with open_store(connection) as store:
        if len(policy_hash) < _HASH_LENGTH:
            events: list[StoredEvent] = []
            for event_type in (EventType.POLICY_LOADED, EventType.POLICY_REJECTED):
                events += (await store.query({"event_type": event_type.value, "limit": _MAX_PAGE})).data
            policy_hash = _whole(policy_hash, _payloads(events))
        found = await store.timeline(correlation_of(policy_hash))
    return policy_of(_payloads(found.events), policy_hash)


def _payloads(events: Iterable[StoredEvent]) -> list[PolicyPayload]:
    return [msgspec.json.decode(event.event_data, type=PolicyPayload) for event in events]


def _whole(policy_hash: str, payloads: Iterable[PolicyPayload]) -> str:
    """The one hash that begins so. Raises CommandError where there are several."""
    found = {payload.policy_hash for payload in payloads if payload.policy_hash.startswith(policy_hash)}
    if len(found) > 1:
        raise CommandError(f"{policy_hash} is the beginning of {len(found)} hashes: {', '.join(sorted(found))}", code=2)
    return found.pop() if found else policy_hash


def _print(found: "Sources") -> None:
    """The text, to the byte for a file or a pipe; what a terminal would obey is escaped there."""
    texts = [text if len(found.files) == 1 else f"# --- {name}\n{text.rstrip()}\n" for name, text in found.files]
    if sys.stdout.isatty():
        for line in "".join(texts).splitlines():
            say(visible(line.expandtabs(4)))
        return
    sys.stdout.flush()
    sys.stdout.buffer.write("".join(texts).encode())
    sys.stdout.buffer.flush()


def _write(found: "Sources", directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in found.files:
        (directory / Path(name).name).write_bytes(text.encode())
        note(str(directory / Path(name).name))
