"""Names that two tests, two workers and two runs never share, for whatever is named outside: databases, topics, users.

A name is `<stem>-<run>-<worker>-<test>-<number>`: what the caller calls it, and then who asked. It has a-z, 0-9 and -
only, begins with a letter unless its stem does not, and ends with a letter or digit. `<run>` and `<test>` are hashes;
`<worker>` and `<number>` are the thing itself, so that within a run no two names can be equal.
"""

import base64
import hashlib
import itertools
import os
import re

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_numbers = itertools.count(1)
_fork = ""  # which forked child of a worker this is


def name(stem: str, *, run: str, worker: str, test: str | None, max_length: int = 63) -> str:
    """A new name of at most `max_length` characters; the stem is cut where it does not fit.

    Raises `ValueError` if not even a name without a stem fits.
    """
    who = re.sub("[^a-z0-9]", "", worker.lower()) + _fork
    parts = [_hash(run, 8), who, *([_hash(test, 4)] if test else []), _base36(next(_numbers))]
    tag = "-".join(parts)
    if len(tag) + 1 > max_length:
        raise ValueError(f"a name of at most {max_length} characters cannot be made unique; {len(tag) + 1} are needed")
    available = max_length - len(tag) - 1
    plain = re.sub("[^a-z0-9]+", "-", stem.lower()).strip("-")[:available].rstrip("-")
    return f"{plain}-{tag}" if plain else f"m{tag}"


def _hash(text: str, length: int) -> str:
    digest = hashlib.blake2s(text.encode(errors="surrogatepass"), digest_size=10).digest()
    return base64.b32encode(digest).decode().lower()[:length]


def _base36(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text or "0"


def _forked() -> None:
    global _fork
    _fork = "p" + _base36(os.getpid())


os.register_at_fork(after_in_child=_forked)
