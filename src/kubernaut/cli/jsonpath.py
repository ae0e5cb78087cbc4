"""kubectl's JSONPath templates: text with `{paths}` in it, and `{range}` over lists.

    {.items[*].metadata.name}
    {range .items[*]}{.metadata.name}{"\t"}{.status.phase}{"\n"}{end}
    {.items[?(@.status.phase=="Failed")].metadata.name}

Supported are fields (`.a`, `['a.b']`, `.a\\.b`), `*`, indexes and slices, `..`, filters that compare with one value or
ask for existence, quoted text, `range` and `end`. As in kubectl, several results are joined by a blank, a missing field
is empty, and an object is printed as JSON.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

_STEP = re.compile(
    r"""\.\.(?P<deep>[\w-]+|\*)"""
    r"""|\.?\[\s*(?P<quoted>'(?:[^'\\]|\\.)*'(?:\s*,\s*'(?:[^'\\]|\\.)*')*|"(?:[^"\\]|\\.)*")\s*\]"""
    r"""|\.?\[\s*(?P<slice>-?\d*\s*:\s*-?\d*(?:\s*:\s*-?\d+)?|\*|-?\d+(?:\s*,\s*-?\d+)*)\s*\]"""
    r"""|\.?\[\s*\?\((?P<filter>(?:[^()"']|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')*)\)\s*\]"""
    r"""|\.?(?P<field>(?:[^\s.\[\]{}'"\\,()]|\\.)+)|(?P<dot>\.)(?=$|\[)"""
)
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")
_FILTER = re.compile(r"^\s*@(?P<path>[^=!<>]*?)\s*(?:(?P<operator>==|!=|<=|>=|<|>)\s*(?P<value>.+?))?\s*$")
_TOKEN = re.compile(r"""\{((?:[^{}"']|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')*)\}""")
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}

Step = Callable[[Any], Iterator[Any]]


class InvalidTemplate(ValueError):
    """A template that cannot be used; the text says where and why."""


class Template:
    """A template, ready to be rendered. Raises InvalidTemplate."""

    def __init__(self, text: str) -> None:
        if not text.strip():
            raise InvalidTemplate("a template is expected, such as jsonpath={.items[*].metadata.name}")
        if "{" not in text:
            raise InvalidTemplate(f"a path stands in braces: {{{text if text.startswith('.') else f'.{text}'}}}")
        self._root = _Block()
        _parse(text, self)

    def render(self, value: Any) -> str:
        """The text for an object. Raises InvalidTemplate where the object does not have the form."""
        return "".join(self._root.render(value))


class _Block:
    """Text, paths, and loops in their order."""

    def __init__(self, over: "_Path | None" = None) -> None:
        self.over = over
        self.parts: list[str | _Path | _Block] = []

    def render(self, current: Any) -> Iterator[str]:
        for part in self.parts:
            if isinstance(part, str):
                yield part
            elif isinstance(part, _Path):
                yield " ".join(map(_text, part.find(current)))
            elif part.over is not None:
                for item in part.over.find(current):
                    yield from part.render(item)


class _Path:
    """Steps from the current object: in kubectl, `$` means that one as well."""

    def __init__(self, text: str) -> None:
        self._steps = list(_steps(text.removeprefix("$").removeprefix("@")))

    def find(self, current: Any) -> list[Any]:
        found = [current]
        for step in self._steps:
            found = [result for each in found for result in step(each)]
        return found


def _parse(text: str, template: Template) -> None:
    stack = [template._root]  # noqa: SLF001 - the constructor's other half
    position = 0
    for token in _TOKEN.finditer(text):
        _literal(text[position : token.start()], stack[-1])
        position = token.end()
        content = token[1].strip()
        if content.startswith("range "):
            block = _Block(_Path(content.removeprefix("range ").strip()))
            stack[-1].parts.append(block)
            stack.append(block)
        elif content == "end":
            if len(stack) == 1:
                raise InvalidTemplate("{end} without {range}")
            stack.pop()
        elif content[:1] in ('"', "'"):
            stack[-1].parts.append(_unquoted(content))
        else:
            stack[-1].parts.append(_Path(content))
    _literal(text[position:], stack[-1])
    if len(stack) > 1:
        raise InvalidTemplate("{range} without {end}")


def _literal(text: str, block: _Block) -> None:
    if "{" in text or "}" in text:
        raise InvalidTemplate(f"a brace is not closed near {text[:40]!r}")
    if text:
        block.parts.append(text)


def _unquoted(text: str) -> str:
    if len(text) < 2 or text[-1] != text[0]:
        raise InvalidTemplate(f"a quote is not closed in {text!r}")
    inner = text[1:-1]
    if text[0] == "'":
        inner = inner.replace('"', '\\"').replace("\\'", "'")
    try:
        return str(json.loads(f'"{inner}"'))
    except ValueError:
        raise InvalidTemplate(f"{text} is not a text") from None


def _steps(text: str) -> Iterator[Step]:
    position = 0
    while position < len(text):
        found = _STEP.match(text, position)
        if found is None:
            raise InvalidTemplate(f"cannot read {text[position:]!r}")
        position = found.end()
        if found["deep"]:
            yield _deep(found["deep"])
        elif found["slice"]:
            yield _items(found["slice"])
        elif found["filter"] is not None:
            yield _filter(found["filter"])
        elif found["quoted"]:
            yield _fields([quoted[1:-1] for quoted in _QUOTED.findall(found["quoted"])])
        elif found["field"]:
            yield _items("*") if found["field"] == "*" else _fields([found["field"]])


def _fields(escaped: Sequence[str]) -> Step:
    names = [re.sub(r"\\(.)", r"\1", name) for name in escaped]

    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict):
            yield from (value[name] for name in names if name in value)

    return step


def _items(text: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        values = list(value.values()) if isinstance(value, dict) and text == "*" else value
        if not isinstance(values, list):
            return
        if text == "*":
            yield from values
        elif ":" in text:
            yield from values[slice(*(int(part) if part.strip() else None for part in text.split(":")))]
        else:
            yield from _at(values, [int(part) for part in text.split(",")])

    return step


def _at(values: Sequence[Any], indexes: Sequence[int]) -> Iterator[Any]:
    for index in indexes:
        if not -len(values) <= index < len(values):
            raise InvalidTemplate(f"array index out of bounds: index {index}, length {len(values)}")
        yield values[index]


def _deep(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        if isinstance(value, dict) and name in value:
            yield value[name]
        for child in children:
            if name == "*":
                yield child
            yield from step(child)

    return step


def _filter(text: str) -> Step:
    parsed = _FILTER.match(text)
    if parsed is None:
        raise InvalidTemplate(f'cannot read the filter {text!r}: one comparison such as @.a=="b" is expected')
    path, operator, expected = _Path(parsed["path"].strip()), parsed["operator"], parsed["value"]
    wanted = _constant(expected) if expected else None

    def step(value: Any) -> Iterator[Any]:
        values = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
        for each in values:
            found = path.find(each)
            if found and (operator is None or _compares(operator, found[0], wanted)):
                yield each

    return step


def _constant(text: str) -> Any:
    if text[:1] in ('"', "'"):
        return _unquoted(text)
    try:
        return json.loads(text)
    except ValueError:
        raise InvalidTemplate(f"{text} is no text in quotes, no number, true or false") from None


def _compares(operator: str, found: Any, wanted: Any) -> bool:
    try:
        return _COMPARISONS[operator](found, wanted)
    except TypeError:
        return False


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
