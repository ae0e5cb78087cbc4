"""The versions of a policy that were accepted, kept on disk by their hash, and which of them was accepted last.

A pod that restarts after its policy was damaged goes on with the last one that decided.
"""

import os
import re
import tempfile
from pathlib import Path

import msgspec
import structlog

from kubernaut.signalprocessing.policy import sources
from kubernaut.signalprocessing.policy.sources import Form, Sources
from kubernaut.signalprocessing.watched_file import InvalidFile, read_text

log = structlog.get_logger("policy")

LAST = "last-known-good"
MAX_VERSIONS = 1000
"""Versions that are kept; the one that was accepted longest ago goes first."""

_MAX_BYTES = 16 * 1024 * 1024
_HASH = re.compile("[0-9a-f]{64}")


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    form: Form
    files: dict[str, str]


class PolicyArchive:
    """A directory of policies; whoever writes to it may be killed at any time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, version: Sources) -> None:
        """Keep a version that was accepted. Raises OSError."""
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._path(version.hash)
        if path.exists():
            path.touch()
        else:
            self._write(path, msgspec.json.encode(_Kept(form=version.form, files=dict(version.files))))
        self._write(self._directory / LAST, version.hash.encode())
        self._remove_oldest()

    def last_known_good(self) -> Sources | None:
        """The version that was accepted last; None where none was, or its file is damaged."""
        path = self._directory / LAST
        if not path.exists():
            return None
        try:
            return self.find(read_text(path, len("0" * 64)))
        except InvalidFile as error:
            log.warning("last known good policy cannot be read", error=str(error))
            return None

    def find(self, policy_hash: str) -> Sources | None:
        """The version with a hash, or with one that begins so."""
        if not re.fullmatch("[0-9a-f]{4,64}", policy_hash) or not self._directory.is_dir():
            return None
        names = [path.stem for path in self._directory.glob(f"{policy_hash}*.json") if _HASH.fullmatch(path.stem)]
        if len(names) != 1:
            return None
        try:
            content = read_text(self._path(names[0]), _MAX_BYTES)
            kept = msgspec.json.decode(content, type=_Kept)
            found = sources.from_files(kept.files, kept.form)
        except (InvalidFile, msgspec.DecodeError, ValueError) as error:
            log.warning("kept policy cannot be read", hash=names[0], error=str(error))
            return None
        if found.hash != names[0]:
            log.warning("kept policy was changed on disk", hash=names[0], found=found.hash)
            return None
        return found

    def _path(self, policy_hash: str) -> Path:
        return self._directory / f"{policy_hash}.json"

    def _write(self, path: Path, content: bytes) -> None:
        """Write all or nothing, also when the machine loses power."""
        descriptor, name = tempfile.mkstemp(dir=self._directory, prefix=".new-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        directory = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _remove_oldest(self) -> None:
        kept = sorted(self._directory.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in kept[MAX_VERSIONS:]:
            path.unlink(missing_ok=True)
