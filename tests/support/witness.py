"""A witness of C2SP tlog-witness: it remembers the last checkpoint of each log and cosigns what extends it."""

import time
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from kubernaut.api.ledger import checkpoints, merkle, notes
from kubernaut.api.ledger.checkpoints import CheckpointError, TreeHead
from kubernaut.api.ledger.merkle import InvalidProof
from kubernaut.api.ledger.notes import Algorithm, Signature, Verifier
from kubernaut.ops.http.server import Listen, open_server


class TestWitness:
    """Knows the logs whose keys it is given."""

    __test__ = False

    def __init__(self, name: str = "witness.example/w1") -> None:
        self._key = Ed25519PrivateKey.generate()
        public = self._key.public_key().public_bytes_raw()
        self.verifier = Verifier(name=name, algorithm=Algorithm.COSIGNATURE, public=public)
        self.logs: list[Verifier] = []
        self.heads: dict[str, TreeHead] = {}
        self.url = ""
        self.is_down = False
        self.rejected: list[str] = []

    async def add_checkpoint(self, request: Request) -> Response:
        if self.is_down:
            return PlainTextResponse("down for maintenance\n", 503)
        proof, _, note = (await request.body()).decode().partition("\n\n")
        old_line, *lines = proof.split("\n")
        old = int(old_line.removeprefix("old "))
        try:
            checkpoint = checkpoints.verify(note, self.logs)
        except CheckpointError as error:
            return PlainTextResponse(str(error), 403)
        known = self.heads.get(checkpoint.origin, TreeHead())
        if known.size != old:
            return PlainTextResponse(f"{known.size}\n", 409, media_type="text/x.tlog.size")
        try:
            hashes = [b64decode(line) for line in lines]
            merkle.verify_consistency(old, known.root, checkpoint.head.size, checkpoint.head.root, hashes)
        except InvalidProof as error:
            self.rejected.append(str(error))
            return PlainTextResponse(str(error), 422)
        self.heads[checkpoint.origin] = checkpoint.head
        seconds = int(time.time())
        signature = seconds.to_bytes(8) + self._key.sign(notes.cosigned(checkpoint.note.text, seconds))
        line = Signature(name=self.verifier.name, key_id=self.verifier.key_id, signature=signature)
        return PlainTextResponse(str(line))


@asynccontextmanager
async def open_witness(witness: TestWitness) -> AsyncIterator[TestWitness]:
    """The witness on a free port."""
    app = Starlette(routes=[Route("/add-checkpoint", witness.add_checkpoint, methods=["POST"])])
    async with open_server(app, Listen(port=0), shutdown_timeout=1) as server:
        witness.url = server.url
        yield witness
