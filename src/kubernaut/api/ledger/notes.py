"""Signed notes (C2SP signed-note): a text, a blank line, and one signature a line; pure.

    — <key name> base64(key id ‖ signature)

A key is written down as `vkey` (public) or `skey` (private), the encodings of Go's sumdb/note. Two kinds of key sign:
a log signs the text itself (Ed25519), and a witness signs the text with the time at which it saw it (tlog-cosignature).
"""

import binascii
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAX_SIGNATURES = 100
"""Signature lines that a note may have; the specification demands at least 16."""

MAX_SIZE = 1_000_000
"""Bytes of a note."""

_PRIVATE = "PRIVATE+KEY+"
_MARK = "— "


class NoteError(ValueError):
    """A note, key or signature that is malformed or does not verify; says why."""


class Algorithm(IntEnum):
    """The signature type byte."""

    ED25519 = 1
    COSIGNATURE = 4


@dataclass(frozen=True, kw_only=True)
class Verifier:
    """A public key by its name."""

    name: str
    algorithm: Algorithm
    public: bytes

    @property
    def key_id(self) -> int:
        """The first four bytes of the hash of name, algorithm and key."""
        return key_id(self.name, self.algorithm, self.public)

    @property
    def vkey(self) -> str:
        """The key as it is written down: name+id+base64."""
        return f"{self.name}+{self.key_id:08x}+{b64encode(bytes([self.algorithm]) + self.public).decode()}"

    def is_valid(self, text: str, signature: bytes) -> bool:
        """Whether this key made the signature over the text."""
        message = text.encode()
        if self.algorithm is Algorithm.COSIGNATURE:
            if len(signature) != 72:
                return False
            (seconds,) = struct.unpack_from(">Q", signature)
            if seconds >= 2**63:
                return False
            message, signature = cosigned(text, seconds), signature[8:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, kw_only=True)
class Signer:
    """A private key by its name; its repr does not show it."""

    name: str
    _key: Ed25519PrivateKey

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        return Verifier(name=self.name, algorithm=Algorithm.ED25519, public=self._key.public_key().public_bytes_raw())

    @property
    def skey(self) -> str:
        """The private key as it is written down."""
        seed = bytes([Algorithm.ED25519]) + self._key.private_bytes_raw()
        return f"{_PRIVATE}{self.name}+{self.verifier.key_id:08x}+{b64encode(seed).decode()}"

    def named(self, name: str) -> "Signer":
        """The same key under another name, as a log with several ledgers signs each under its origin."""
        _check_name(name)
        return Signer(name=name, _key=self._key)

    def derived_secret(self, purpose: str) -> bytes:
        """32 bytes that follow from the private key and from what they are for (HKDF-SHA256)."""
        return HKDF(hashes.SHA256(), 32, salt=None, info=purpose.encode()).derive(self._key.private_bytes_raw())

    def sign(self, text: str) -> "Signature":
        """The signature of a note's text."""
        return Signature(name=self.name, key_id=self.verifier.key_id, signature=self._key.sign(text.encode()))

    def __repr__(self) -> str:
        return f"Signer(name={self.name!r})"


@dataclass(frozen=True, kw_only=True)
class Signature:
    """One signature line."""

    name: str
    key_id: int
    signature: bytes

    def __str__(self) -> str:
        encoded = b64encode(struct.pack(">I", self.key_id) + self.signature).decode()
        return f"{_MARK}{self.name} {encoded}\n"

    @property
    def cosigned_at(self) -> int | None:
        """Seconds since the epoch at which a witness signed, when this is a cosignature."""
        return int(struct.unpack_from(">Q", self.signature)[0]) if len(self.signature) == 72 else None


@dataclass(frozen=True, kw_only=True)
class Note:
    """A text with signatures of which nothing is known yet."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return self.text + "\n" + "".join(map(str, self.signatures))

    def verified(self, verifiers: Iterable[Verifier]) -> list[Signature]:
        """The signatures by these keys. Raises NoteError when one of them is wrong; none is an empty list."""
        known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
        valid: dict[tuple[str, int], Signature] = {}
        for signature in self.signatures:
            key = (signature.name, signature.key_id)
            verifier = known.get(key)
            if verifier is None:
                continue
            if not verifier.is_valid(self.text, signature.signature):
                raise NoteError(f"the signature of {signature.name} does not verify")
            valid.setdefault(key, signature)
        return list(valid.values())


def key_id(name: str, algorithm: int, public: bytes) -> int:
    """The number that stands in a signature line, from the name and the public key."""
    return int.from_bytes(sha256(name.encode() + b"\n" + bytes([algorithm]) + public).digest()[:4])


def new_signer(name: str) -> Signer:
    """A new Ed25519 key. Raises NoteError for a name that no key can have."""
    _check_name(name)
    return Signer(name=name, _key=Ed25519PrivateKey.generate())


def parse_signer(skey: str) -> Signer:
    """A private key from its encoding. Raises NoteError, which never shows the key."""
    private, _, rest = skey.strip().partition(_PRIVATE)
    name, number, encoded = _fields(rest)
    if private or not rest:
        raise NoteError(f"a private key begins with {_PRIVATE}")
    key = _decoded(encoded, "the private key")
    if len(key) != 33 or key[0] != Algorithm.ED25519:
        raise NoteError("the private key is not of type Ed25519")
    signer = Signer(name=name, _key=Ed25519PrivateKey.from_private_bytes(key[1:]))
    if f"{signer.verifier.key_id:08x}" != number:
        raise NoteError("the private key does not belong to the name and the id before it")
    return signer


def parse_signers(text: str) -> tuple[Signer, ...]:
    """The private keys of a file: one a line, empty lines and those that begin with # aside. Raises NoteError."""
    lines = [line.strip() for line in text.splitlines()]
    signers = tuple(parse_signer(line) for line in lines if line and not line.startswith("#"))
    if not signers:
        raise NoteError("the file has no key")
    return signers


def parse_verifier(vkey: str) -> Verifier:
    """A public key from its encoding. Raises NoteError."""
    name, number, encoded = _fields(vkey.strip())
    key = _decoded(encoded, f"the key of {name}")
    if len(key) != 33 or key[0] not in {*Algorithm}:
        raise NoteError(f"the key of {name} is neither of type Ed25519 (1) nor a cosigner's (4)")
    verifier = Verifier(name=name, algorithm=Algorithm(key[0]), public=key[1:])
    if f"{verifier.key_id:08x}" != number:
        raise NoteError(f"the key of {name} does not belong to the id {number[:20]!r}")
    return verifier


def parse_note(note: str) -> Note:
    """Take a note apart; verifies nothing. Raises NoteError."""
    if len(note) > MAX_SIZE or any(character < " " and character != "\n" for character in note):
        raise NoteError(f"a note has no control characters, and {MAX_SIZE} bytes at most")
    text, blank, lines = note.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise NoteError("a note is a text, a blank line, and signature lines, each ended by a newline")
    signatures = parse_signatures(lines)
    if not signatures:
        raise NoteError("a note has at least one signature line")
    return Note(text=f"{text}\n", signatures=tuple(signatures))


def parse_signatures(lines: str) -> list[Signature]:
    """Signature lines. Raises NoteError."""
    found = lines.removesuffix("\n").split("\n") if lines else []
    if len(found) > MAX_SIGNATURES:
        raise NoteError(f"more than {MAX_SIGNATURES} signature lines")
    return [_signature(line) for line in found]


def cosigned(text: str, seconds: int) -> bytes:
    """What a witness signs: the note's text and when it was seen (tlog-cosignature)."""
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def signed(text: str, signers: Sequence[Signer]) -> Note:
    """The text with a signature of each key. Raises NoteError when the text cannot be one."""
    if not text.endswith("\n") or any(character < " " and character != "\n" for character in text):
        raise NoteError("the text of a note ends with a newline and has no other control characters")
    return Note(text=text, signatures=tuple(signer.sign(text) for signer in signers))


def _signature(line: str) -> Signature:
    name, blank, encoded = line.removeprefix(_MARK).partition(" ")
    if not line.startswith(_MARK) or not blank:
        raise NoteError(f"{line[:40]!r} is no signature line; “— name base64” is expected")
    _check_name(name)
    content = _decoded(encoded, f"the signature of {name}")
    if len(content) < 5:
        raise NoteError(f"the signature of {name} is too short")
    return Signature(name=name, key_id=int.from_bytes(content[:4]), signature=content[4:])


def _fields(key: str) -> tuple[str, str, str]:
    parts = key.split("+", 2)
    if len(parts) != 3:
        raise NoteError("a key is written as name+id+base64")
    _check_name(parts[0])
    return parts[0], parts[1], parts[2]


def _check_name(name: str) -> None:
    if not name or "+" in name or any(character.isspace() or not character.isprintable() for character in name):
        raise NoteError(
            f"{name[:60]!r} is no key name: it is empty, or has a blank, a plus sign or a control character"
        )


def _decoded(encoded: str, description: str) -> bytes:
    try:
        return b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError(f"{description} is not base64") from None
