"""What is rejected before an engine sees the text.

The engine's parser needs time exponential in the depth of brackets, so a few lines could stop it for minutes.
The builtins below reach out of the policy or make a result depend on more than the input; the engine lacks most of
them or has them shadowed, but the author of a policy should learn that when it is loaded, with line and column.
"""

import re

from kubernaut.signalprocessing.policy.builtins.table import refusal
from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy.sources import MAX_BYTES

MAX_BRACKET_DEPTH = 10

DENIED_BUILTINS = {
    "http.send": 1,
    "net.lookup_ip_addr": 1,
    "opa.runtime": 0,
    "rego.parse_module": 2,
    "time.now_ns": 0,
    "rand.intn": 2,
    "uuid.rfc4122": 1,
}
"""Builtins that policies do not get, with their number of arguments."""

_OPAQUE = re.compile(r'"(?:[^"\\\n]|\\.)*"|`[^`]*`|#[^\n]*')
_CALL = re.compile(r"(?<![\w.])(?:" + "|".join(re.escape(name) for name in DENIED_BUILTINS) + r")(?!\w)")


def check(file: str, text: str) -> None:
    """Raise PolicyError at the first place that no engine may see."""
    if len(text.encode()) > MAX_BYTES:
        raise PolicyError(f"is larger than {MAX_BYTES} bytes", file=file)
    if text.startswith("\ufeff"):
        raise PolicyError("begins with a byte order mark; save it as UTF-8 without one", file=file, line=1, column=1)
    if "\0" in text:
        raise _at(file, text, text.index("\0"), "the character NUL is not allowed")
    code = without_texts(text)
    _check_depth(file, code)
    if match := _CALL.search(code):
        raise _at(file, code, match.start(), f"{match[0]} is not available to policies: {refusal(match[0])}")


def without_texts(text: str) -> str:
    """The code with blanks in place of its strings and comments; every position keeps its meaning."""
    return _OPAQUE.sub(_blank, text)


def _blank(match: re.Match[str]) -> str:
    # Line breaks stay, so that positions in the rest keep their meaning.
    return re.sub(r"[^\n]", " ", match[0])


def _check_depth(file: str, code: str) -> None:
    depth = 0
    for place, sign in enumerate(code):
        if sign in "([{":
            depth += 1
            if depth > MAX_BRACKET_DEPTH:
                raise _at(file, code, place, f"brackets nest deeper than {MAX_BRACKET_DEPTH}")
        elif sign in ")]}":
            depth = max(0, depth - 1)


def _at(file: str, code: str, place: int, message: str) -> PolicyError:
    line = code.count("\n", 0, place) + 1
    column = place - code.rfind("\n", 0, place)
    return PolicyError(message, file=file, line=line, column=column)
