"""Passwords and keys in files that only one user can read."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from kubernaut.api.ledger import notes


def write_secret(path: Path, text: str, *, owner: int | None = None) -> None:
    """Replace the file by one that only `owner`, or else we, can read."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)
        if owner is not None:
            os.fchown(fd, owner, owner)
    fresh.replace(path)


def secret_in(path: Path) -> str:
    """The secret that the file holds; a new random one is put there if there is no file."""
    if not path.exists():
        write_secret(path, secrets.token_urlsafe(24) + "\n")
    return path.read_text().strip()


def ensure_signing_key(path: Path, origin: str) -> Path:
    """The file with the keys that sign a ledger, under its origin; a new key is put there if there is no file.

    A key of another name gets this one, and stays the same key: `kubernaut audit keys show` then prints what the
    ledger's checkpoints can be verified with.
    """
    if not path.exists():
        write_secret(path, notes.new_signer(origin).skey + "\n")
    text = path.read_text()
    with suppress(notes.NoteError):  # who reads the keys says what is wrong with them
        renamed = "".join(f"{_named(line, origin)}\n" for line in text.splitlines())
        if renamed != text:
            write_secret(path, renamed)
    return path


def _named(line: str, origin: str) -> str:
    """The line of a key file with the key under that name."""
    if not line.strip() or line.strip().startswith("#"):
        return line
    signer = notes.parse_signer(line.strip())
    return line if signer.name == origin else signer.named(origin).skey
