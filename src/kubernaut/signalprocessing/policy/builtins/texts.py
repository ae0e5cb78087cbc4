"""Strings as Go sees them: code points, and for an empty part bytes."""

from typing import Any

from kubernaut.signalprocessing.policy.builtins.results import Inexact, Undefined, integer, text, texts

_WHITE_SPACE = (
    "\t\n\v\f\r \u0085\u00a0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
)
"""What Go calls white space; Python counts some control characters too."""


def lower(value: Any) -> str:
    """Each code point by itself, as Go does; no letter becomes two."""
    return "".join(map(_lower, text(value)))


def upper(value: Any) -> str:
    return "".join(map(_upper, text(value)))


def _lower(letter: str) -> str:
    small = letter.lower()
    # The capital I with a dot is the only letter whose small one Python writes as two.
    return small if len(small) == 1 else small[0]


def _upper(letter: str) -> str:
    large = letter.upper()
    return large if len(large) == 1 else letter


def indexof(value: Any, search: Any) -> int:
    whole, part = text(value), text(search)
    if not part:
        raise Undefined("empty search character")
    return whole.find(part)


def indexof_n(value: Any, search: Any) -> list[int]:
    whole, part = text(value), text(search)
    if not part:
        raise Undefined("empty search character")
    return [place for place in range(len(whole) - len(part) + 1) if whole.startswith(part, place)]


def substring(value: Any, offset: Any, length: Any) -> str:
    whole, start, count = text(value), integer(offset), integer(length)
    if start < 0:
        raise Undefined("negative offset")
    return whole[start:] if count < 0 else whole[start : start + count]


def replace(value: Any, old: Any, new: Any) -> str:
    whole, before, after = text(value), text(old), text(new)
    if not before and not whole.isascii():
        raise Inexact("replace with an empty text cuts letters into bytes in OPA")
    return whole.replace(before, after)


def replace_n(patterns: Any, value: Any) -> str:
    """All replacements at once, from left to right; of several that fit, the first key in order."""
    if not isinstance(patterns, dict):
        raise Undefined("not an object")
    pairs = [(text(key), text(patterns[key])) for key in sorted(patterns, key=text)]
    whole = text(value)
    if any(not old for old, _ in pairs):
        raise Inexact("strings.replace_n with an empty key cuts letters into bytes in OPA")
    result = []
    place = 0
    while place < len(whole):
        old, new = next(
            ((old, new) for old, new in pairs if whole.startswith(old, place)), (whole[place], whole[place])
        )
        result.append(new)
        place += len(old)
    return "".join(result)


def count(value: Any, search: Any) -> int:
    whole, part = text(value), text(search)
    return whole.count(part)


def split(value: Any, delimiter: Any) -> list[str]:
    whole, part = text(value), text(delimiter)
    return whole.split(part) if part else [*whole]


def split_n(value: Any, delimiter: Any, limit: Any) -> list[str]:
    raise Inexact("strings.split_n is not available")


def trim_space(value: Any) -> str:
    return text(value).strip(_WHITE_SPACE)


def trim(value: Any, cutset: Any) -> str:
    whole, letters = text(value), text(cutset)
    return whole.strip(letters) if letters else whole


def trim_left(value: Any, cutset: Any) -> str:
    whole, letters = text(value), text(cutset)
    return whole.lstrip(letters) if letters else whole


def trim_right(value: Any, cutset: Any) -> str:
    whole, letters = text(value), text(cutset)
    return whole.rstrip(letters) if letters else whole


def trim_prefix(value: Any, prefix: Any) -> str:
    return text(value).removeprefix(text(prefix))


def trim_suffix(value: Any, suffix: Any) -> str:
    return text(value).removesuffix(text(suffix))


def contains(value: Any, part: Any) -> bool:
    return text(part) in text(value)


def startswith(value: Any, part: Any) -> bool:
    return text(value).startswith(text(part))


def endswith(value: Any, part: Any) -> bool:
    return text(value).endswith(text(part))


def reverse(value: Any) -> str:
    return text(value)[::-1]


def concat(delimiter: Any, parts: Any) -> str:
    return text(delimiter).join(texts(parts))


def any_prefix_match(value: Any, prefixes: Any) -> bool:
    wholes, parts = _one_or_more(value), _one_or_more(prefixes)
    return any(whole.startswith(part) for whole in wholes for part in parts)


def any_suffix_match(value: Any, suffixes: Any) -> bool:
    wholes, parts = _one_or_more(value), _one_or_more(suffixes)
    return any(whole.endswith(part) for whole in wholes for part in parts)


def _one_or_more(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else texts(value)
