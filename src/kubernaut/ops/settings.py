"""Configuration: a YAML file and the environment become one frozen dataclass, or the process stops with a reason.

```python
@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    port: Annotated[int, Between(0, 65535)] = 8080
    write_timeout: Seconds = 30.0
```

`load(Config, path, env=os.environ, prefix="KUBERNAUT_DATASTORAGE")` reads `server: {writeTimeout: 5s}` and lets the
variable `KUBERNAUT_DATASTORAGE__SERVER__WRITE_TIMEOUT=10s` win over it.
Keys are camelCase in the file, as Kubernetes users write them.
The error for an unknown key, a missing one or an invalid value names the key, the value and what is allowed.
"""

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import yaml

from kubernaut.ops.logins import HIDDEN, without_login
from kubernaut.ops.secret_patterns import NAMES

C = TypeVar("C")

MAX_SHOWN = 200
"""Characters of a value in a message."""

_NO_VALUE = object()
_SECRET_NAME = re.compile(f"(?i){NAMES}|key|user|dsn|login|auth")
_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")


class SettingsError(ValueError):
    """A configuration that cannot be used: names the key, the value and what is allowed.

    The value of a key that may hold a secret is not shown, nor the login of an address, nor a text where something of
    several parts is expected: it may be what was meant for another key.
    """

    def __init__(self, key: str, value: object, reason: str) -> None:
        invalid = "" if value is _NO_VALUE else f"invalid value {_shown(key, value)}: "
        super().__init__(f"{key}: {invalid}{reason}")
        self.key, self.value, self.reason = key, value, reason


def _shown(key: str, value: object) -> str:
    if isinstance(value, str):
        last = key.rpartition(".")[2].partition("[")[0]
        return repr(HIDDEN if _SECRET_NAME.search(last) else without_login(value)[:MAX_SHOWN])
    if isinstance(value, Mapping):
        return "of several keys"
    return "of several items" if isinstance(value, list | tuple) and value else repr(value)


class Secret:
    """A value that is never printed; call `reveal()` where it is used."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


@dataclasses.dataclass(frozen=True)
class Between:
    """Both ends included."""

    low: float
    high: float


class _Unit(Enum):
    SECONDS = "seconds"
    BYTES = "bytes"


Seconds = Annotated[float, _Unit.SECONDS]
"""A duration; written as a number of seconds or as `1m30s`, `200ms`, `2h`."""

Bytes = Annotated[int, _Unit.BYTES]
"""A size; written as a number of bytes or as `5MiB`, `64KiB`, `1GiB`."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_IN_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB)?")
_IN_BYTES = {None: 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def seconds(text: str) -> float:
    """`1m30s` → 90.0; raises ValueError on anything else than numbers with ms, s, m, h or d."""
    if not text or _DURATION.sub("", text):
        raise ValueError(f"{text!r} is not a duration such as 200ms, 5s or 1m30s")
    return sum(float(number) * _IN_SECONDS[unit] for number, unit in _DURATION.findall(text))


def check_url(key: str, url: str) -> None:
    """Raises SettingsError unless that is the http or https URL of a host."""
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, a broken IPv6 address
        is_valid, parts = False, urlsplit("")
    if is_valid and not (parts.username or parts.password or parts.query or parts.fragment):
        return
    hint = "must be a URL such as http://data-storage-service:8080, with neither credentials nor a query"
    if "://" not in url:
        hint += f"; did you mean {'http://' + url.lstrip('/')!r}?"
    raise SettingsError(key, url.rpartition("@")[2] if "@" in url else url, hint)


def load(
    cls: type[C], source: Path | Mapping[str, Any] | None, *, env: Mapping[str, str] | None = None, prefix: str = ""
) -> C:
    """Build `cls` from a file or mapping, overlaid by the environment. Raises SettingsError."""
    values = read_values(source) if isinstance(source, Path) else dict(source or {})
    if env and prefix:
        _overlay(values, env, prefix + "__")
    return _build(cls, values, "")


def read_values(path: Path) -> dict[str, Any]:
    """The mapping in a file. Raises SettingsError, which never quotes the file: it may hold secrets."""
    try:
        values = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
    except OSError as error:
        raise SettingsError(str(path), _NO_VALUE, f"failed to read config file: {error.strerror}") from error
    except UnicodeDecodeError as error:
        place = f"byte {error.start} is not UTF-8"
        raise SettingsError(str(path), _NO_VALUE, f"failed to parse config file: {place}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SettingsError(str(path), _NO_VALUE, f"failed to parse config file: {_yaml_problem(error)}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingsError(str(path), _NO_VALUE, "must be a mapping of keys to values")
    return values


def _yaml_problem(error: Exception) -> str:
    """What is wrong and where, without what the parser quotes."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return "not YAML"
    problem = _QUOTED.sub("'…'", error.problem or "not YAML")
    return f"{problem}, line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"


def _overlay(values: dict[str, Any], env: Mapping[str, str], prefix: str) -> None:
    for name, text in env.items():
        if not name.startswith(prefix):
            continue
        *sections, last = [camel_case(part.lower()) for part in name.removeprefix(prefix).split("__")]
        place = values
        for section in sections:
            inner = place.get(section) or {}
            place[section] = inner = dict(inner) if isinstance(inner, Mapping) else {}
            place = inner
        try:
            place[last] = yaml.load(text, Loader=yaml.CSafeLoader)
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise SettingsError(name, _NO_VALUE, f"the variable is not YAML: {_yaml_problem(error)}") from None


def camel_case(name: str) -> str:
    """`write_timeout` → `writeTimeout`."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _build(cls: type[C], values: Mapping[str, Any], at: str) -> C:
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {camel_case(field.name): field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]  # cls is a dataclass by contract
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise SettingsError(at + str(key), _NO_VALUE, f"unknown key; {hint}allowed keys: {', '.join(fields)}")
    given: dict[str, Any] = {}
    for key, field in fields.items():
        if key in values:
            given[field.name] = _value(hints[field.name], values[key], at + key)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise SettingsError(at + key, _NO_VALUE, "required key is not set")
    try:
        return cls(**given)
    except SettingsError as error:
        raise SettingsError(at + error.key, error.value, error.reason) from None
    except ValueError as error:
        raise SettingsError(at.rstrip(".") or "configuration", _NO_VALUE, str(error)) from error


def _value(hint: Any, value: Any, key: str) -> Any:
    if typing.get_origin(hint) is Annotated:
        return _annotated(hint, value, key)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        choices = [choice for choice in typing.get_args(hint) if choice is not type(None)]
        return None if value is None else _value(choices[0], value, key)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise SettingsError(key, _NO_VALUE, "must be a mapping of keys to values")
        return _build(hint, value, key + ".")  # type: ignore[arg-type]  # a class, as the hints of a dataclass are
    if typing.get_origin(hint) in (list, tuple):
        if not isinstance(value, list):
            raise SettingsError(key, _NO_VALUE, "must be a list")
        items = [_value(typing.get_args(hint)[0], item, f"{key}[{index}]") for index, item in enumerate(value)]
        return tuple(items) if typing.get_origin(hint) is tuple else items
    if typing.get_origin(hint) is dict:
        if not isinstance(value, Mapping):
            raise SettingsError(key, _NO_VALUE, "must be a mapping")
        return {str(name): _value(typing.get_args(hint)[1], inner, f"{key}.{name}") for name, inner in value.items()}
    return _scalar(hint, value, key)


def _annotated(hint: Any, value: Any, key: str) -> Any:
    plain, *marks = typing.get_args(hint)
    unit = next((mark for mark in marks if isinstance(mark, _Unit)), None)
    if unit is _Unit.SECONDS and isinstance(value, str):
        try:
            value = seconds(value)
        except ValueError:
            raise SettingsError(key, value, "must be a duration such as 200ms, 5s or 1m30s") from None
    if unit is _Unit.BYTES and isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if not match:
            raise SettingsError(key, value, "must be a size such as 65536, 64KiB or 5MiB")
        value = int(match[1]) * _IN_BYTES[match[2]]
    result = _value(plain, value, key)
    limits = [mark for mark in marks if isinstance(mark, Between)]
    if unit and not limits:
        limits = [Between(0, float("inf"))]
    for limit in limits:
        if not limit.low <= result <= limit.high:
            raise SettingsError(key, value, f"must be between {limit.low:.15g} and {limit.high:.15g}")
    return result


def _scalar(hint: Any, value: Any, key: str) -> Any:
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(value)
        except ValueError:
            raise SettingsError(key, value, f"must be one of {', '.join(str(item.value) for item in hint)}") from None
    if hint is Any:
        return value
    if hint is Secret or hint is Path:
        if not isinstance(value, str) or not value:
            raise SettingsError(key, "***" if hint is Secret else value, "must be text that is not empty")
        return hint(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    raise SettingsError(key, value, f"must be {names.get(hint, hint)}")
