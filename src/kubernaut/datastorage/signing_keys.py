"""The private keys that sign checkpoints, from a file that is read again when it changes."""

from pathlib import Path

import structlog

from kubernaut.api.ledger import notes
from kubernaut.api.ledger.notes import Signer
from kubernaut.datastorage.errors import CannotStart

log = structlog.get_logger("datastorage")


class SigningKeys:
    """The keys of the file as it is now; the last good ones while it is not."""

    def __init__(self, path: Path | None) -> None:
        """Raises CannotStart when there is a path and no good file behind it."""
        self._path = path
        self._signers: tuple[Signer, ...] = ()
        self._secrets: dict[str, list[bytes]] = {}
        self._version: tuple[int, int] | None = None
        if path is not None:
            try:
                self._load(path)
            except (OSError, ValueError) as error:
                raise CannotStart(
                    f"ledger.keyFile {path}: {error}; write one with: kubernaut audit keys new"
                ) from error

    def signers(self, name: str) -> list[Signer]:
        """The keys under the name of one log; none when nothing is to be signed."""
        self._reload()
        return [signer.named(name) for signer in self._signers]

    def derived_secrets(self, purpose: str) -> list[bytes]:
        """A secret of 32 bytes from each key, for one purpose; none without a key."""
        self._reload()
        if purpose not in self._secrets:
            self._secrets[purpose] = [signer.derived_secret(purpose) for signer in self._signers]
        return self._secrets[purpose]

    def _reload(self) -> None:
        if self._path is not None:
            try:
                self._load(self._path)
            except (OSError, ValueError) as error:
                log.error("signing keys not reloaded, the previous ones stay in use", error=str(error))

    def _load(self, path: Path) -> None:
        stat = path.stat()
        version = (stat.st_mtime_ns, stat.st_ino)
        if version == self._version:
            return
        self._version = version  # a bad file is complained about once
        self._signers = notes.parse_signers(path.read_text())
        self._secrets.clear()
        log.info("signing keys loaded", count=len(self._signers))
