"""Regular expressions in Go's syntax, and globs as OPA matches them; both in linear time."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import re2  # type: ignore[import-untyped]  # no stubs

from kubernaut.signalprocessing.policy.builtins.results import Inexact, Undefined, integer, text

_options = re2.Options()
_options.log_errors = False
_MAX_MEMORY = 8 * 1024 * 1024
_options.max_mem = _MAX_MEMORY


@lru_cache(maxsize=500)
def _compiled(pattern: str) -> Any:
    if "\\C" in pattern or "(?<" in pattern:
        raise Inexact("this part of the pattern is not available")
    try:
        return re2.compile(pattern, options=_options)
    except re2.error as error:
        raise Undefined(f"invalid pattern: {error}") from error


def regex_match(pattern: Any, value: Any) -> bool:
    return _compiled(text(pattern)).search(text(value)) is not None


def regex_is_valid(pattern: Any) -> bool:
    if not isinstance(pattern, str):
        return False
    try:
        _compiled(pattern)
    except Undefined:
        return False
    return True


def _matches(compiled: Any, whole: str) -> Iterator[Any]:
    """All matches as Go finds them: an empty one at the end of another is none."""
    end = -1
    for match in compiled.finditer(whole):
        if match.start() != match.end() or match.start() != end:
            yield match
        end = match.end()


def regex_split(pattern: Any, value: Any) -> list[str]:
    compiled, whole = _compiled(text(pattern)), text(value)
    if not text(pattern):
        return [*whole]
    if not whole:
        return [""]
    parts = []
    begin = end = 0
    for match in _matches(compiled, whole):
        if match.end() == 0:
            continue
        end = match.start()
        parts.append(whole[begin:end])
        begin = match.end()
    if end != len(whole):
        parts.append(whole[begin:])
    return parts


def regex_replace(value: Any, pattern: Any, replacement: Any) -> str:
    whole, compiled, template = text(value), _compiled(text(pattern)), text(replacement)
    if "$" in template and not template.isascii():
        raise Inexact("regex.replace with $ beside letters beyond ASCII in the replacement is not available")
    result = []
    place = 0
    for match in _matches(compiled, whole):
        result += [whole[place : match.start()], _expanded(template, match) if "$" in template else template]
        place = match.end()
    return "".join([*result, whole[place:]])


_GROUP = re.compile(r"\$(?:(\$)|\{(\w+)\}|(\w+))", re.ASCII)


def _expanded(template: str, match: Any) -> str:
    """The replacement with the texts of groups, as Go's: a name is as long as it can be, an unknown one is empty."""

    def group(reference: re.Match[str]) -> str:
        dollar, braced, bare = reference.groups()
        if dollar:
            return "$"
        name = str(braced or bare)
        if not name.isdigit():
            return match.group(name) or "" if name in match.re.groupindex else ""
        is_group = (name == "0" or not name.startswith("0")) and int(name) <= match.re.groups
        return match.group(int(name)) or "" if is_group else ""

    return _GROUP.sub(group, template)


def regex_find_n(pattern: Any, value: Any, limit: Any) -> list[str]:
    compiled, whole, count = _compiled(text(pattern)), text(value), integer(limit)
    found = [match.group() for match in _matches(compiled, whole)]
    return found if count < 0 else found[:count]


def glob_match(pattern: Any, delimiters: Any, value: Any) -> bool:
    if delimiters is None:
        separators: tuple[str, ...] = ()
    elif isinstance(delimiters, list):
        if any(len(text(delimiter)) != 1 for delimiter in delimiters):
            raise Undefined("a delimiter is one character")
        separators = tuple(delimiters) or (".",)
    else:
        raise Undefined("delimiters are an array")
    return _glob(text(pattern), separators).fullmatch(text(value)) is not None


@lru_cache(maxsize=500)
def _glob(pattern: str, separators: tuple[str, ...]) -> Any:
    return re2.compile(f"(?s:{_translated(pattern, separators)})", options=_options)


_SIGNS = re.compile(r"(\*+)|(\?)|\\(.)|(\[)|(\{)|(\})|(,)|(.)", re.DOTALL)


def _translated(pattern: str, separators: tuple[str, ...]) -> str:
    """The glob as a regular expression."""
    one = "[^" + "".join(map(_in_class, separators)) + "]" if separators else "."
    result = []
    place = depth = 0
    while match := _SIGNS.match(pattern, place):
        place = match.end()
        stars, any_sign, escaped, opens_class, opens, closes, comma, literal = match.groups()
        if stars:
            result.append(_stars(stars, one))
        elif any_sign:
            result.append(one)
        elif opens_class:
            end = pattern.find("]", place)
            result.append(_class(pattern[place:end] if end >= 0 else ""))
            place = end + 1
        elif opens:
            depth += 1
            result.append("(?:")
        elif depth and (closes or comma):
            depth -= 1 if closes else 0
            result.append(")" if closes else "|")
        elif literal == "\\":
            raise Inexact("a glob that ends with a backslash is not available")
        else:
            result.append(re2.escape(escaped or closes or comma or literal))
    if depth:
        raise Undefined("unclosed alternatives")
    return "".join(result)


def _stars(stars: str, one: str) -> str:
    if len(stars) > 2:
        raise Inexact("more than two * in a row are not available")
    return ".*" if len(stars) == 2 else f"{one}*"


def _class(content: str) -> str:
    if not content or "\\" in content or "[" in content:
        raise Undefined("invalid character class")
    negated = "^" if content.startswith("!") else ""
    signs = content.removeprefix("!")
    if len(signs) == 3 and signs[1] == "-":
        if signs[0] > signs[2]:
            raise Undefined("invalid range")
        return f"[{negated}{_in_class(signs[0])}-{_in_class(signs[2])}]"
    if not signs or "-" in signs:
        raise Inexact("this character class is not available")
    return f"[{negated}{''.join(map(_in_class, signs))}]"


def _in_class(sign: str) -> str:
    return f"\\x{{{ord(sign):x}}}"
