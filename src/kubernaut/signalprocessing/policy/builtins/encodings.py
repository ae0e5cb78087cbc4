"""Digests, encodings, and JSON, as OPA's."""

import base64
import binascii
import hashlib
import hmac
import json
import re
from typing import Any
from urllib.parse import unquote_to_bytes

from kubernaut.signalprocessing.policy.builtins.numbers import to_number
from kubernaut.signalprocessing.policy.builtins.results import Inexact, Undefined, text

_MAX_DEPTH = 200
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


_JSON_PART = re.compile(r'"(?P<key>-?[0-9][0-9.e+-]*)":|"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*')
_ESCAPED_BY_GO = re.compile("[<>&\u2028\u2029]")
_PLAIN_FRACTIONS = (1e-4, 1e6)
"""Between these OPA writes the result of a calculation with a fraction without an exponent."""


def json_text(value: Any) -> str:
    """JSON as the engine writes it, as OPA writes it."""
    return _JSON_PART.sub(_json_part, text(value))


def _json_part(match: re.Match[str]) -> str:
    part = match["key"] or match[0]
    if part.startswith('"'):
        return _ESCAPED_BY_GO.sub(lambda sign: f"\\u{ord(sign[0]):04x}", part)
    if "e" in part or "." in part:
        smallest, limit = _PLAIN_FRACTIONS
        if "e" in part or not smallest <= abs(float(part)) < limit:
            raise Inexact(f"json.marshal of {part} is not available: OPA may write it with an exponent")
    return match[0]


def md5(value: Any) -> str:
    return hashlib.md5(text(value).encode(), usedforsecurity=False).hexdigest()


def sha1(value: Any) -> str:
    return hashlib.sha1(text(value).encode(), usedforsecurity=False).hexdigest()


def sha256(value: Any) -> str:
    return hashlib.sha256(text(value).encode()).hexdigest()


def hmac_of(algorithm: str) -> Any:
    def compute(value: Any, key: Any) -> str:
        return hmac.new(text(key).encode(), text(value).encode(), algorithm).hexdigest()

    return compute


def hmac_equal(left: Any, right: Any) -> bool:
    return hmac.compare_digest(text(left).encode(), text(right).encode())


def base64_decode(value: Any) -> str:
    try:
        content = base64.b64decode(re.sub(r"[\r\n]", "", text(value)).encode(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Undefined("not base64") from error
    return _decoded(content)


def base64_is_valid(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        base64.b64decode(re.sub(r"[\r\n]", "", value).encode(), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def base64url_decode(value: Any) -> str:
    """With padding where the text ends with it, else without; line breaks do not count."""
    whole = text(value)
    bare = re.sub(r"[\r\n]", "", whole.removesuffix("==").removesuffix("=") if whole.endswith("=") else whole)
    if not re.fullmatch(r"[-\w]*", bare, re.ASCII) or len(bare) % 4 == 1:
        raise Undefined("not base64")
    if whole.endswith("=") and len(re.sub(r"[\r\n]", "", whole)) % 4:
        raise Undefined("not base64")
    return _decoded(base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4)))


def hex_decode(value: Any) -> str:
    whole = text(value)
    if not re.fullmatch(r"(?:[0-9a-fA-F]{2})*", whole):
        raise Undefined("not hexadecimal")
    return _decoded(bytes.fromhex(whole))


def urlquery_decode(value: Any) -> str:
    whole = text(value)
    if re.search(r"%(?![0-9a-fA-F]{2})", whole):
        raise Undefined("invalid URL escape")
    return _decoded(unquote_to_bytes(whole.replace("+", " ")))


def _decoded(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise Inexact("the result is no UTF-8") from error


def json_unmarshal(value: Any) -> Any:
    whole = text(value)
    if _SURROGATE.search(whole):
        raise Inexact("JSON with surrogates is not available")
    if _depth(whole) > _MAX_DEPTH:
        raise Inexact("JSON nests too deep")
    try:
        return json.loads(whole, parse_int=to_number, parse_float=to_number, parse_constant=_refuse)
    except Inexact:
        raise
    except (ValueError, RecursionError) as error:
        raise Undefined("not JSON") from error


def json_is_valid(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        json.loads(value, parse_int=str, parse_float=str, parse_constant=_refuse)
    except RecursionError as error:
        raise Inexact("JSON nests too deep") from error
    except ValueError:
        return False
    return True


def _depth(whole: str) -> int:
    depth = deepest = 0
    for sign in re.sub(r'"(?:[^"\\]|\\.)*"', "", whole):
        depth += (sign in "[{") - (sign in "]}")
        deepest = max(deepest, depth)
    return deepest


def _refuse(name: str) -> Any:
    raise ValueError(name)
