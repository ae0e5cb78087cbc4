"""Static tokens in files, for clients that have no account in the cluster; read again when the files change."""

import hashlib
import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from kubernaut.ops.http.auth_config import TokenConfig
from kubernaut.ops.http.authentication import CannotAuthenticate, Identity, Permission
from kubernaut.ops.settings import SettingsError

CHECK_INTERVAL = 1.0  # seconds
MIN_TOKEN_LENGTH = 16

log = structlog.get_logger("http")


class _Unusable(Exception):
    """Why a token file cannot be used; never with a token in the text."""


class TokenFiles:
    """An Authenticator over token files.

    An empty file revokes its tokens. While a file cannot be read, its tokens do not count, and a token that is in no
    other file cannot be checked.
    """

    def __init__(self, tokens: Sequence[TokenConfig], clock: Callable[[], float] = time.monotonic) -> None:
        """Raises SettingsError when a file cannot be used."""
        self._clock = clock
        self._permissions = {token.identity: token.permissions for token in tokens}
        if len(self._permissions) < len(tokens):
            raise SettingsError("auth.tokens", [token.identity for token in tokens], "an identity is given twice")
        self._files = [_TokenFile(token) for token in tokens]
        for index, file in enumerate(self._files):
            file.refresh()
            problem = file.problem or ("" if file.digests else "the file has no token")
            if problem:
                raise SettingsError(f"auth.tokens[{index}].file", str(file.config.file), problem)
        digests = [digest for file in self._files for digest in file.digests]
        if len(set(digests)) < len(digests):
            raise SettingsError("auth.tokens", [token.identity for token in tokens], "two of them have the same token")
        self._checked_at = clock()

    async def authenticate(self, token: str) -> Identity | None:
        """Whose token it is. Raises CannotAuthenticate when it may be in a file that cannot be read."""
        if self._clock() - self._checked_at >= CHECK_INTERVAL:
            self._refresh()
        digest = hashlib.sha256(token.encode()).digest()
        identity = self._find(digest)
        if identity is None:
            self._refresh()  # a token that was written a moment ago counts at once
            identity = self._find(digest)
        unusable = [str(file.config.file) for file in self._files if file.problem]
        if identity is None and unusable:
            raise CannotAuthenticate(f"token files cannot be read: {', '.join(unusable)}")
        return identity

    async def denial(self, identity: Identity, permission: Permission) -> str | None:
        if permission in self._permissions[identity.name]:
            return None
        return f"{identity.name} has no {permission} permission"

    def _find(self, digest: bytes) -> Identity | None:
        # Every token is compared, so that the time tells nothing.
        matching = [file for file in self._files if file.has(digest)]
        return Identity(name=matching[0].config.identity) if matching else None

    def _refresh(self) -> None:
        self._checked_at = self._clock()
        for file in self._files:
            file.refresh()


@dataclass
class _TokenFile:
    config: TokenConfig
    digests: tuple[bytes, ...] = ()
    problem: str = ""
    _version: tuple[int, ...] = ()

    def has(self, digest: bytes) -> bool:
        # The sum compares with each of them; `any` would stop at the first that matches.
        return sum(hmac.compare_digest(digest, known) for known in self.digests) > 0

    def refresh(self) -> None:
        """Read the file if it has changed."""
        try:
            status = self.config.file.stat()
            version = (status.st_mtime_ns, status.st_size, status.st_ino)
            if version == self._version and not self.problem:
                return
            self.digests = _digests(self.config.file.read_text())
        except (OSError, UnicodeDecodeError, _Unusable) as error:
            problem = (error.strerror if isinstance(error, OSError) else "") or str(error)
            if problem != self.problem and self._version:
                log.error("token file unusable", file=str(self.config.file), error=problem)
            self.digests, self.problem = (), problem
            return
        if self._version:
            log.info("token file reloaded", file=str(self.config.file), tokens=len(self.digests))
        self.problem, self._version = "", version


def _digests(text: str) -> tuple[bytes, ...]:
    tokens = [line.strip() for line in text.splitlines() if line.strip()]
    if any(len(token) < MIN_TOKEN_LENGTH for token in tokens):
        raise _Unusable(f"a token has at least {MIN_TOKEN_LENGTH} characters")
    return tuple(hashlib.sha256(token.encode()).digest() for token in tokens)
