"""Signs the ledgers: a checkpoint every so many events and seconds, cosigned by witnesses where some are configured.

Nothing is signed that does not extend what was signed before. A tree that does not, because somebody rewrote rows,
tiles and head, stops the signing and is reported; appends go on.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

import httpx2
import structlog

from kubernaut.api.ledger import checkpoints, merkle
from kubernaut.api.ledger.checkpoints import Checkpoint, TreeHead
from kubernaut.api.ledger.merkle import InvalidProof
from kubernaut.api.ledger.notes import NoteError, Verifier
from kubernaut.datastorage.config import LedgerConfig, WitnessConfig
from kubernaut.datastorage.errors import CannotStart, DataStorageError
from kubernaut.datastorage.ledger_reader import LedgerReader, TileMissing
from kubernaut.datastorage.metrics import Metrics
from kubernaut.datastorage.settings import DatabaseSettings
from kubernaut.datastorage.side_tables import PublicKeys
from kubernaut.datastorage.signing_keys import SigningKeys
from kubernaut.datastorage.witnesses import Witness
from kubernaut.ops.http import answers
from kubernaut.ops.tasks import background

log = structlog.get_logger("datastorage")

POLL_INTERVAL = 1.0
"""Seconds between looks at how far the ledgers have grown."""


WITNESS_TIMEOUT = 10.0
"""Seconds for a witness to answer."""


class LedgerInconsistent(DataStorageError):
    """The tree does not extend its last checkpoint: rows, tiles or head were rewritten."""


class Checkpointer:
    """The signing of every ledger of one database; see `open_checkpointer`."""

    def __init__(
        self,
        config: LedgerConfig,
        settings: Callable[[], DatabaseSettings],
        reader: LedgerReader,
        metrics: Metrics,
        witnesses: Sequence[Witness] = (),
    ) -> None:
        """Raises CannotStart when the key file cannot be used."""
        self._config = config
        self._settings = settings
        self._reader = reader
        self._store = reader.checkpoints
        self._metrics = metrics
        self._witnesses = witnesses
        self._keys = SigningKeys(config.key_file)
        self._lock = asyncio.Lock()
        self._signed: dict[int, tuple[int, float]] = {}  # size and monotonic time of the newest checkpoint we know of
        self.inconsistent: dict[int, str] = {}
        """Ledgers that are not signed any more, and why."""

    @property
    def is_signing(self) -> bool:
        """Whether there is a key."""
        return self._config.key_file is not None

    @property
    def public_keys(self) -> PublicKeys:
        """What verifies the signatures of this service and of its witnesses."""
        return PublicKeys(
            of_log=lambda origin: [signer.verifier for signer in self._keys.signers(origin)],
            of_witnesses=[witness.verifier for witness in self._witnesses],
        )

    async def served(self, shard: int) -> Checkpoint | None:
        """The newest checkpoint with a quorum of cosignatures; None when there is none."""
        return await self._store.newest(shard, quorum=self._config.witness_quorum)

    async def covering(self, shard: int, size: int) -> Checkpoint | None:
        """A checkpoint over at least `size` leaves, signed now if need be; None without a key.

        Raises LedgerInconsistent when none can be signed.
        """
        newest = await self._store.newest(shard, quorum=0)
        if self.is_signing and (newest is None or newest.head.size < size):
            await self.sign(shard)
            newest = await self._store.newest(shard, quorum=0)
        return newest if newest is not None and newest.head.size >= size else None

    async def sign(self, shard: int) -> None:
        """Sign a ledger as it is now, unless that was done. Raises LedgerInconsistent."""
        async with self._lock:
            head = await self._reader.head(shard)
            before = await self._store.newest(shard, quorum=0)
            if before is None or before.head != head:
                await self._require_extension(shard, before.head if before else TreeHead(), head)
                origin = self._settings().origin_of(shard)
                signers = self._keys.signers(origin)
                if not signers:
                    return
                await self._store.add(shard, checkpoints.sign(origin, head, signers), datetime.now(UTC))
                self._metrics.checkpoint_size.labels(str(shard)).set(head.size)
            self._signed[shard] = (head.size, time.monotonic())
            self.inconsistent.pop(shard, None)

    async def newest(self, shard: int) -> Checkpoint | None:
        """The newest checkpoint with the cosignatures that it has so far; None when there is none."""
        return await self._store.newest(shard, quorum=0)

    def keys(self, shard: int) -> list[Verifier]:
        """The public keys that sign a ledger now."""
        return [signer.verifier for signer in self._keys.signers(self._settings().origin_of(shard))]

    async def run(self) -> None:
        """Sign for as long as the service runs."""
        while True:
            try:
                await self._sign_due()
            except DataStorageError as error:
                log.warning("checkpoint not signed, retrying", error=str(error))
            await asyncio.sleep(min(POLL_INTERVAL, self._config.checkpoint_interval))

    async def _sign_due(self) -> None:
        heads = await self._reader.heads()
        for shard in range(self._settings().shards):
            try:
                if self._is_due(shard, heads.get(shard, TreeHead())):
                    await self.sign(shard)
            except LedgerInconsistent as error:
                log.error("checkpoint not signed", shard=shard, error=str(error))
            else:
                await self._ask_witnesses(shard)

    def _is_due(self, shard: int, head: TreeHead) -> bool:
        if shard not in self._signed:
            return shard not in self.inconsistent
        size, signed_at = self._signed[shard]
        if shard in self.inconsistent or head.size == size:
            return False
        is_late = time.monotonic() - signed_at >= self._config.checkpoint_interval
        return is_late or head.size - size >= self._config.checkpoint_events

    async def _require_extension(self, shard: int, old: TreeHead, new: TreeHead) -> None:
        try:
            if new.size < old.size:
                raise InvalidProof(f"the tree has {new.size} leaves, fewer than the {old.size} that were signed")
            hashes = await self._reader.consistency_proof(shard, old.size, new.size)
            merkle.verify_consistency(old.size, old.root, new.size, new.root, hashes)
        except (InvalidProof, TileMissing) as error:
            self.inconsistent[shard] = str(error)
            message = f"ledger {shard} does not extend its last checkpoint: {error}; run: kubernaut audit verify"
            raise LedgerInconsistent(message) from error

    async def _ask_witnesses(self, shard: int) -> None:
        checkpoint = await self._store.newest(shard, quorum=0) if self._witnesses else None
        if checkpoint is None:
            return
        known = await self._store.cosigned_by(shard, checkpoint.head)
        missing = [witness for witness in self._witnesses if witness.name not in known]

        async def ask(witness: Witness) -> None:
            prove = partial(self._reader.consistency_proof, shard, new=checkpoint.head.size)
            line = await witness.cosign(checkpoint, prove)
            if line is not None:
                await self._store.add_cosignature(shard, checkpoint.head, witness.name, line)

        await asyncio.gather(*(ask(witness) for witness in missing))


@asynccontextmanager
async def open_checkpointer(
    config: LedgerConfig, settings: Callable[[], DatabaseSettings], reader: LedgerReader, metrics: Metrics
) -> AsyncIterator[Checkpointer]:
    """Sign while the block runs. Without a key nothing is signed, which the log says. Raises CannotStart."""
    async with httpx2.AsyncClient(timeout=WITNESS_TIMEOUT, cookies=answers.no_cookies()) as http:
        witnesses = [_witness(http, witness) for witness in config.witnesses]
        checkpointer = Checkpointer(config, settings, reader, metrics, witnesses)
        if not checkpointer.is_signing:
            log.warning("ledger checkpoints are not signed: ledger.keyFile is not set")
            yield checkpointer
            return
        async with background(checkpointer.run(), "checkpointer"):
            yield checkpointer


def _witness(http: httpx2.AsyncClient, config: WitnessConfig) -> Witness:
    try:
        return Witness(http, config.url, config.vkey)
    except NoteError as error:
        raise CannotStart(f"ledger.witnesses: {error}") from error
