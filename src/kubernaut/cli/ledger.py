"""`kubernaut audit keys …` and `kubernaut audit receipt`: the ledger's keys, and proofs that need nothing of ours."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from uuid import UUID

import cyclopts

from kubernaut.api.ledger import checkpoints, exports, notes, receipts
from kubernaut.cli.connection import ConnectionOptions, open_store
from kubernaut.cli.errors import CommandError
from kubernaut.cli.output import note, say
from kubernaut.ops.visible_text import visible

KeyFileOption = Annotated[Path, cyclopts.Parameter(name=["--file", "-f"], help="File of private keys, one a line")]


async def new_key(
    origin: str,
    /,
    *,
    file: Annotated[Path | None, cyclopts.Parameter(name=["--file", "-f"])] = None,
    secret: Annotated[str | None, cyclopts.Parameter(name="--secret")] = None,
    kubeconfig: Annotated[Path | None, cyclopts.Parameter(name="--kubeconfig", env_var="KUBECONFIG")] = None,
    namespace: Annotated[str | None, cyclopts.Parameter(name=["--namespace", "-n"])] = None,
) -> int:
    """Write a new private key that signs checkpoints, and print the public one.

    The file is what `ledger.keyFile` names. A file that is there gets the key as one more line: both keys sign then,
    until the old line is removed. A Secret that is there is left as it is.

    Parameters
    ----------
    origin
        Origin of the log, such as audit.example.com/ledger.
    file
        File of private keys, one a line.
    secret
        Name of a Secret that gets the key under `keys`, instead of a file.
    kubeconfig
        Which cluster, for a Secret; without it the service account of the pod.
    namespace
        Where the Secret is made; without it the namespace of the kubeconfig or the pod.
    """
    if (file is None) == (secret is None):
        raise CommandError("give either --file FILE or --secret NAME", code=2, hint="kubernaut audit keys new --help")
    try:
        signer = notes.new_signer(origin)
    except notes.NoteError as error:
        raise CommandError(str(error), code=2) from error
    if secret is not None:
        if not await _create_secret(secret, signer, kubeconfig, namespace or ""):
            note(f"Secret {visible(secret)} is there, nothing changed")
            return 0
        for line in _public_of([signer], origin, shards=1):
            say(line)
    elif file is not None:
        # Appended by one call, and to nobody but the owner readable from the first moment on.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "w") as keys:
            keys.write(f"{signer.skey}\n")
        for line in _public(file, origin, shards=1):
            say(line)
    return 0


async def _create_secret(name: str, signer: notes.Signer, kubeconfig: Path | None, namespace: str) -> bool:
    """False when there is one of that name. It needs the permission to create Secrets, and none to read them."""
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.kube.client import ClientConfig, open_client
    from kubernaut.kube.errors import AlreadyExists
    from kubernaut.kube.objects import Kind

    kind: Kind[dict[str, object]] = Kind(version="v1", kind="Secret", plural="secrets", type=dict)
    async with open_client(ClientConfig(kubeconfig=kubeconfig, field_manager="kubernaut-keys")) as client:
        metadata = {"name": name, "namespace": namespace or client.namespace}
        try:
            await client.create(kind, {"metadata": metadata, "stringData": {"keys": f"{signer.skey}\n"}})
        except AlreadyExists:
            return False
    return True


def show_keys(
    *, file: KeyFileOption, origin: str | None = None, shards: Annotated[int, cyclopts.Parameter(help="Ledgers")] = 1
) -> int:
    """Print the public keys (vkey) of a key file, one for each ledger, as verifiers and witnesses want them.

    Parameters
    ----------
    origin
        Origin of the log, if it is another than the one the keys were made for.
    """
    for line in _public(file, origin, shards=shards):
        say(line)
    return 0


def _public(file: Path, origin: str | None, *, shards: int) -> list[str]:
    try:
        signers = notes.parse_signers(file.read_text())
    except notes.NoteError as error:
        raise CommandError(f"{file}: {error}", code=2) from error
    return _public_of(signers, origin, shards=shards)


def _public_of(signers: Sequence[notes.Signer], origin: str | None, *, shards: int) -> list[str]:
    return [
        signer.named(f"{origin or signer.name}/{shard}").verifier.vkey for signer in signers for shard in range(shards)
    ]


async def receipt(event_id: str, /, *, connection: ConnectionOptions | None = None) -> int:
    """Print the receipt of one event: the event, its ledger entry, and a proof against a signed checkpoint.

    Keep it in a file; `kubernaut audit verify FILE --key VKEY` checks it with neither database nor network.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.audit.errors import StoreError

    try:
        event = UUID(event_id)
    except ValueError:
        raise CommandError(f"{event_id!r} is no event id", code=2, hint="kubernaut audit query -o name") from None
    async with open_store(connection) as store:
        try:
            say((await store.receipt(str(event))).decode())
        except StoreError as error:
            if error.status != 404:
                raise
            raise CommandError(f"{error}", hint="kubernaut audit query -o name") from error
    return 0


def verify_receipt(file: Path, keys: list[str]) -> int:
    """Check a receipt or an export against the log's public keys; 1 when it proves nothing."""
    if not keys:
        raise CommandError(
            "a receipt is checked against the log's public key: --key VKEY", code=2, hint="kubernaut audit keys show"
        )
    try:
        verifiers = [notes.parse_verifier(key) for key in keys]
    except notes.NoteError as error:
        raise CommandError(f"--key: {error}", code=2) from error
    if _is_export(file):
        return _verify_export(file, verifiers)
    try:
        verified = receipts.verify(receipts.parse(file.read_bytes()), verifiers)
    except receipts.InvalidReceipt as error:
        note(visible(f"{file}: the receipt proves nothing: {error}"))
        return 1
    entry, head = verified.entry, verified.checkpoint.head
    say(visible(f"verified: event {entry.event_id} is row {entry.sequence} of {verified.checkpoint.origin}"))
    say(f"received {entry.received_at.isoformat()}, in a tree of {head.size} events with root {head.root.hex()}")
    return 0


def _is_export(file: Path) -> bool:
    with file.open("rb") as content:
        return content.read(len(exports.MARK)) == exports.MARK


def _verify_export(file: Path, verifiers: list[notes.Verifier]) -> int:
    try:
        with file.open("rb") as lines:
            verified = exports.verify(lines, verifiers)
    except exports.InvalidExport as error:
        note(visible(f"{file}: NOT VERIFIED: {error}"))
        return 1
    say(f"verified: {verified.events} events, and {verified.removed} entries whose payload was removed")
    for shard, checkpoint in sorted(verified.checkpoints.items()):
        head = checkpoint.head
        say(f"ledger {shard}: in a tree of {head.size} events of {checkpoint.origin} with root {head.root.hex()}")
    return 0


def read_checkpoint(file: Path, keys: list[str]) -> checkpoints.Checkpoint:
    """A checkpoint from a file; its signature is checked where keys are given.

    Raises CommandError: code 1 where text or signature is bad, which is a finding, code 2 for a key that is none.
    """
    try:
        verifiers = [notes.parse_verifier(key) for key in keys]
    except notes.NoteError as error:
        raise CommandError(f"--key: {error}", code=2) from error
    try:
        text = file.read_text()
        return checkpoints.verify(text, verifiers) if keys else checkpoints.parse(text)
    except (checkpoints.CheckpointError, notes.NoteError, UnicodeDecodeError) as error:
        raise CommandError(f"{file}: NOT VERIFIED: {error}", code=1) from error
