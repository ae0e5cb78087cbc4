"""Label and field selectors: parsing as the real server does, and matching."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from pocketkube.status import ApiError, bad_request

Labels = Mapping[str, str]

_TOKEN = re.compile(r"\s*(==|!=|=|!|\(|\)|,|<|>|[^\s=!(),<>]+)")
_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One condition on one label."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def holds(self, labels: Labels) -> bool:
        """Tell whether the labels meet it."""
        value = labels.get(self.key)
        match self.operator:
            case "exists":
                return value is not None
            case "absent":
                return value is None
            case "in":
                return value in self.values
            case "notin":
                return value is None or value not in self.values
        return value is not None and _compares(self.operator, value, next(iter(self.values)))


def _compares(operator: str, value: str, bound: str) -> bool:
    try:
        return int(value) > int(bound) if operator == "gt" else int(value) < int(bound)
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a list or watch wants to see."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[tuple[str, bool, str], ...] = ()
    """Path, True for equal, value."""

    def matches(self, labels: Labels, field: Callable[[str], str]) -> bool:
        """Tell whether an object with these labels and fields is wanted."""
        return all(requirement.holds(labels) for requirement in self.labels) and all(
            (field(path) == value) is equal for path, equal, value in self.fields
        )

    @property
    def name(self) -> str | None:
        """The one name asked for, if it is one."""
        for path, equal, value in self.fields:
            if path == "metadata.name" and equal:
                return value
        return None


EVERYTHING = Selection()


def parse(label_selector: str, field_selector: str, selectable: Sequence[str]) -> Selection:
    """Return the selection; raise a 400 for one that cannot be read."""
    if not label_selector and not field_selector:
        return EVERYTHING
    return Selection(labels=parse_labels(label_selector), fields=parse_fields(field_selector, selectable))


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """Return the requirements of a label selector."""
    tokens = _tokens(text)
    requirements: list[Requirement] = []
    while tokens:
        requirements.append(_requirement(tokens))
        if tokens and tokens.pop(0) != ",":
            raise bad_request("unable to parse requirement: found something after the value, expected: ','")
        if not tokens and text.rstrip().endswith(","):
            raise bad_request("unable to parse requirement: found '', expected: identifier after ','")
    return tuple(requirements)


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    position = 0
    text = text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise bad_request(f"unable to parse requirement: found '{text[position:]}'")
        tokens.append(match.group(1))
        position = match.end()
    return tokens


def _requirement(tokens: list[str]) -> Requirement:
    first = tokens.pop(0)
    if first == "!":
        return Requirement(key=_key(tokens.pop(0) if tokens else ""), operator="absent")
    key = _key(first)
    if not tokens or tokens[0] == ",":
        return Requirement(key=key, operator="exists")
    operator = tokens.pop(0)
    if operator in {"=", "==", "!="}:
        value = tokens.pop(0) if tokens and tokens[0] != "," else ""
        _check_value(key, value)
        return Requirement(key=key, operator="notin" if operator == "!=" else "in", values=frozenset({value}))
    if operator in {"<", ">", "gt", "lt"} and tokens:
        return Requirement(
            key=key,
            operator={"<": "lt", ">": "gt"}.get(operator, operator),
            values=frozenset({tokens.pop(0)}),
        )
    if operator in {"in", "notin"}:
        return Requirement(key=key, operator=operator, values=_values(key, tokens))
    raise bad_request(f"unable to parse requirement: found '{operator}', expected: in, notin, =, ==, !=, gt, lt")


def _values(key: str, tokens: list[str]) -> frozenset[str]:
    if not tokens or tokens.pop(0) != "(":
        raise bad_request("unable to parse requirement: found '', expected: '('")
    values: set[str] = set()
    wanted = True
    while tokens:
        word = tokens.pop(0)
        if word == ")":
            if wanted:
                values.add("")
            return frozenset(values)
        if word == ",":
            if wanted:
                values.add("")
            wanted = True
            continue
        _check_value(key, word)
        values.add(word)
        wanted = False
    raise bad_request("unable to parse requirement: found '', expected: ',', or ')'")


def _key(text: str) -> str:
    prefix, slash, name = text.rpartition("/")
    if not _NAME.fullmatch(name) or len(name) > 63 or (slash and not prefix):
        raise bad_request(
            f'unable to parse requirement: <nil>: Invalid value: "{text}": name part must consist of'
            " alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
        )
    return text


def _check_value(key: str, value: str) -> None:
    if value and (len(value) > 63 or not _NAME.fullmatch(value)):
        raise bad_request(
            f'unable to parse requirement: values[0][{key}]: Invalid value: "{value}": a valid label must be'
            " an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end"
            " with an alphanumeric character"
        )


def parse_fields(text: str, selectable: Collection[str]) -> tuple[tuple[str, bool, str], ...]:
    """Return the terms of a field selector; raise a 400 for a field nobody can select by."""
    terms: list[tuple[str, bool, str]] = []
    for term in re.split(r"(?<!\\),", text):
        if not term:
            continue
        match = re.match(r"([^=!]*)(==|!=|=)(.*)", term, re.DOTALL)
        if match is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        path, operator, value = match.groups()
        if path not in {"metadata.name", "metadata.namespace"} and path not in selectable:
            raise _unknown_field(path, selectable)
        terms.append((path, operator != "!=", re.sub(r"\\([\\,=])", r"\1", value)))
    return tuple(terms)


def _unknown_field(path: str, selectable: Collection[str]) -> ApiError:
    known = ", ".join(f'"{field}"' for field in ("metadata.name", "metadata.namespace", *selectable))
    return bad_request(f'"{path}" is not a known field selector: only {known}')
