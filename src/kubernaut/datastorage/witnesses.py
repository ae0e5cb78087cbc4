"""Asking a witness to cosign a checkpoint (C2SP tlog-witness)."""

from base64 import b64encode
from collections.abc import Awaitable, Callable

import httpx2
import structlog

from kubernaut.api.ledger import notes
from kubernaut.api.ledger.checkpoints import Checkpoint
from kubernaut.api.ledger.notes import Note, NoteError
from kubernaut.datastorage.ledger_reader import TileMissing
from kubernaut.ops.http import answers

log = structlog.get_logger("datastorage")

MAX_ANSWER = 64 * 1024
"""Bytes of a witness's answer that are looked at."""

Prove = Callable[[int], Awaitable[list[bytes]]]
"""A consistency proof from an older size to the checkpoint's."""


class Witness:
    """One witness, by its submission prefix and public key."""

    def __init__(self, http: httpx2.AsyncClient, url: str, vkey: str) -> None:
        """Raises NoteError for what is no key."""
        self._http = http
        self._url = f"{url.rstrip('/')}/add-checkpoint"
        self.verifier = notes.parse_verifier(vkey)
        self._sizes: dict[str, int] = {}  # what it has cosigned last, by the origin of the log
        self._is_failing = False

    @property
    def name(self) -> str:
        """The name of its key."""
        return self.verifier.name

    async def cosign(self, checkpoint: Checkpoint, prove: Prove) -> str | None:
        """Its signature line; None when it has none to give, which is logged once an outage."""
        try:
            response = await self._post(checkpoint, prove)
            if response.status_code == 409:  # it knows another size of this log, and says which
                self._sizes[checkpoint.origin] = int(response.text[:30].strip())
                response = await self._post(checkpoint, prove)
            if response.status_code != 200:
                raise NoteError(f"it answered {response.status_code}: {response.text[:200].strip()}")
            line = self._own_line(checkpoint, response.text)
        except (httpx2.HTTPError, NoteError, TileMissing, ValueError) as error:
            if not self._is_failing:
                log.warning("witness did not cosign", witness=self.name, url=self._url, error=str(error) or repr(error))
            self._is_failing = True
            return None
        if self._is_failing:
            log.info("witness cosigns again", witness=self.name)
        self._is_failing = False
        self._sizes[checkpoint.origin] = checkpoint.head.size
        return line

    async def _post(self, checkpoint: Checkpoint, prove: Prove) -> httpx2.Response:
        size = self._sizes.get(checkpoint.origin, 0)
        if size > checkpoint.head.size:
            raise NoteError(f"it has cosigned {size} leaves, and this log has {checkpoint.head.size}")
        hashes = await prove(size)
        proof = "".join(f"{b64encode(each).decode()}\n" for each in hashes)
        log_only = Note(
            text=checkpoint.note.text,
            signatures=tuple(each for each in checkpoint.note.signatures if each.cosigned_at is None),
        )
        request = f"old {size}\n{proof}\n{log_only}"
        return await answers.request(self._http, "POST", self._url, max_size=MAX_ANSWER, content=request)

    def _own_line(self, checkpoint: Checkpoint, lines: str) -> str:
        note = Note(text=checkpoint.note.text, signatures=tuple(notes.parse_signatures(lines)))
        for signature in note.verified([self.verifier]):
            return str(signature)
        raise NoteError("its answer has no signature of its key")
