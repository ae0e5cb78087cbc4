"""Takes secrets out of what is written: by the name they stand under, by their form, and by their value.

A name is secret if one of its words is (`PGPASSWORD`, `api_key`, `accessToken`), unless its last word says that it
holds something about the secret (`TOKEN_FILE`, `password_length`). A form is secret in a URL with a password, a
`Bearer` or `Basic` header, a private key, a JSON Web Token, and tokens with a known prefix. A value is secret, wherever
it occurs, if it was learned under a secret name: from the environment, or from what a resource answers.

Node ids and other names of the record are kept as they are, since a replay needs them. Values that are defaults known
to everybody (`postgres`, `password`, …) or shorter than four characters are masked under their name only: taking
`postgres` out of every text would hide a cause and no secret.
"""

import os
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

MASK = "***"

MIN_LENGTH = 4
"""A shorter value would mask parts of unrelated words."""

MIN_SUBSTRING_LENGTH = 8
"""Values of at least this length are masked inside of words, too."""

_SECRET = {
    "apikey",
    "auth",
    "authorization",
    "bearer",
    "cookie",
    "cookies",
    "credential",
    "credentials",
    "jwt",
    "pass",
    "passphrase",
    "passwd",
    "password",
    "passwords",
    "pwd",
    "secret",
    "secrets",
    "token",
}
_SECRET_PAIRS = {("api", "key"), ("access", "key"), ("private", "key"), ("signing", "key"), ("encryption", "key")}
_SECRET_PARTS = re.compile(r"passw(?:or)?d|passphrase|secret|apikey|accesskey|privatekey|authtoken")
_ABOUT = {"count", "dir", "directory", "enabled", "file", "header", "kind", "length", "name", "path", "size", "ttl"}
_ABOUT |= {"type", "field", "expires", "expiry", "lifetime", "policy", "required"}
_HARMLESS = {"pwd", "oldpwd"}
"""The working directories of a shell."""

_KNOWN_DEFAULTS = {
    *("admin", "changeme", "default", "dummy", "example", "false", "guest", "minioadmin", "none", "null", "pass"),
    *("passwd", "password", "postgres", "redis", "root", "secret", "test", "testing", "token", "true", "user"),
}

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

# No expression here begins with a repetition: on one long word, such as encoded data, that would take its square.
_ASSIGNED = re.compile(
    r"""(?P<key>(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?"""
    r"""|authorization|cookie|jwt|(?<=[A-Za-z][_-])(?:pass|pwd)(?![A-Za-z]))[\w-]{0,40}["']?)(?P<sign>\s{0,20}(?:==|!=|=>|=|:)\s{0,20})"""
    r"""(?P<scheme>(?:bearer|basic)\s+)?(?!\*\*\*)(?P<value>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s,;&"'(){}\[\]]+)""",
    re.IGNORECASE,
)
_BEGINNING = re.compile(r"[\w.-]*\Z")
"""The part of a name before the word by which it was found."""
_URL_PASSWORD = re.compile(r"(?P<before>://[^\s/:@\"']{0,200}:)(?P<password>[^\s/\"']+)@")
_FORMS = (
    (_URL_PASSWORD, rf"\g<before>{MASK}@"),
    (
        re.compile(r"(?P<before>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE),
        rf"\g<before>{MASK}",
    ),
    (
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
        f"-----BEGIN PRIVATE KEY----- {MASK}",
    ),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*"), MASK),
    (
        re.compile(r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|sk-|sk_live_|AKIA|ASIA)[A-Za-z0-9_-]{12,}"),
        MASK,
    ),
)
_SUSPICIOUS = re.compile(
    r"://|bearer|basic|PRIVATE KEY|eyJ|gh[pousr]_|github_pat_|glpat-|xox|sk[-_]|AKIA|ASIA"
    r"|[_-]pass|passw|passphrase|[_-]pwd|secret|token|key|credential|authorization|cookie|jwt",
    re.IGNORECASE,
)
"""A text without any of these has none of the forms; most texts have not."""

_OPTION = re.compile(r"--?[A-Za-z][\w.-]*")

NAMES = {
    *(
        "type",
        "test",
        "tests",
        "worker",
        "kind",
        "kinds",
        "name",
        "event",
        "phase",
        "outcome",
        "module",
        "run",
        "scope",
    ),
    *("serial", "pending", "shared", "declared", "globals", "names", "none_names", "empty_names", "function", "counts"),
    *("action", "was", "now", "address_family", "stop_reason", "leases", "phases"),
}
"""Fields of the record that hold names and kinds, and are written as they are."""


_PLAIN = frozenset({int, float, bool, type(None)})


def is_secret_name(name: str) -> bool:
    """Whether a value under this name is a secret."""
    if name.lower() in _HARMLESS:
        return False
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words or (len(words) > 1 and words[-1] in _ABOUT):
        return False
    if not _SECRET.isdisjoint(words) or any(pair in _SECRET_PAIRS for pair in pairwise(words)):
        return True
    return any(_SECRET_PARTS.search(word) for word in words)


class Mask:
    """Knows the secrets of one process, and takes them out of text and data."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._secrets: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._keys: dict[str, bool] = {}
        self.learn(os.environ if environment is None else environment)

    def learn(self, data: Any) -> None:
        """Remember what stands under secret names anywhere in `data`, and the passwords of its URLs."""
        before = len(self._secrets)
        self._learn(data, secret=False)
        if len(self._secrets) != before:
            self._pattern = _pattern(self._secrets)

    def _learn(self, data: Any, *, secret: bool) -> None:
        if isinstance(data, Mapping):
            for key, value in data.items():
                self._learn(value, secret=secret or self._is_secret(key))
        elif isinstance(data, list | tuple):
            for value in data:
                self._learn(value, secret=secret)
        elif isinstance(data, str):
            if secret:
                self._remember(data)
            elif "://" in data:
                for found in _URL_PASSWORD.finditer(data):
                    self._remember(found["password"])

    def _remember(self, value: str) -> None:
        for text in (value, *value.splitlines()):
            text = text.strip()
            if len(text) >= MIN_LENGTH and text.lower() not in _KNOWN_DEFAULTS:
                self._secrets.add(text)

    def _is_secret(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        known = self._keys.get(name)
        if known is None:
            known = self._keys[name] = is_secret_name(name)
        return known

    def text(self, text: str) -> str:
        """The text without secrets."""
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        if _SUSPICIOUS.search(text):
            for form, instead in _FORMS:
                text = form.sub(instead, text)
            text = _ASSIGNED.sub(self._assigned, text)
        return text

    def _assigned(self, found: re.Match[str]) -> str:
        key, value = found["key"], found["value"]
        before = found.string[max(0, found.start() - 40) : found.start()]
        name = _BEGINNING.search(before)[0] + key.rstrip("\"'")  # type: ignore[index]  # it always matches
        if not self._is_secret(name) or value.strip("\"'").lower() in {"", "none", "null", "true", "false"}:
            return found[0]
        quote = value[0] if value[0] in "\"'" else ""
        return f"{key}{found['sign']}{found['scheme'] or ''}{quote}{MASK}{quote}"

    def data(self, data: Any) -> Any:
        """A copy of JSON-like data without secrets."""
        if isinstance(data, str):
            return self.text(data)
        if isinstance(data, dict):
            return {key: self._under(key, value) for key, value in data.items()}
        if isinstance(data, list | tuple):
            return self._items(data)
        if data is None or isinstance(data, bool | int | float):
            return data
        return self.text(str(data))  # as it is written: a path, for example

    def line(self, line: dict[str, Any]) -> dict[str, Any]:
        """A line of the record without secrets; its names are kept."""
        keys = self._keys
        return {
            key: value
            if key in NAMES or (type(value) in _PLAIN and keys.get(key) is False)  # each test writes a dozen of them
            else self._line_value(key, value)
            for key, value in line.items()
        }

    def _line_value(self, key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return self.line(value)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return [self.line(one) for one in value]
        return self._under(key, value)

    def _under(self, key: object, value: Any) -> Any:
        if not self._is_secret(key):
            return self.data(value)
        return value if value is None or isinstance(value, bool) else _all_masked(value)

    def _items(self, items: list[Any] | tuple[Any, ...]) -> list[Any]:
        """An argument list may give a secret in the item after an option's name."""
        found: list[Any] = []
        secret = False
        for item in items:
            found.append(_all_masked(item) if secret else self.data(item))
            secret = isinstance(item, str) and bool(_OPTION.fullmatch(item)) and self._is_secret(item.lstrip("-"))
        return found


def _all_masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _all_masked(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_all_masked(one) for one in value]
    return value if value is None or value == "" or isinstance(value, bool) else MASK


def _pattern(secrets: set[str]) -> re.Pattern[str]:
    # The longest first, so that no secret is masked in part because another one is its beginning.
    parts = [
        re.escape(secret)
        if len(secret) >= MIN_SUBSTRING_LENGTH
        else rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])"
        for secret in sorted(secrets, key=len, reverse=True)
    ]
    return re.compile("|".join(parts))
