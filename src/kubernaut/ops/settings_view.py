"""A configuration as it can be written into a file again, with every default and without secrets."""

import dataclasses
import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

from kubernaut.ops.logins import HIDDEN, without_login
from kubernaut.ops.settings import Bytes, Seconds, Secret, camel_case

_BYTE_UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
_UNIT_OF = {typing.get_args(Seconds)[1]: "seconds", typing.get_args(Bytes)[1]: "bytes"}


def as_values(config: Any) -> dict[str, Any]:
    """The keys and values of a configuration dataclass, in their order; `load` reads them back.

    A secret is `***`, and the login of an address is hidden.
    """
    hints = typing.get_type_hints(type(config), include_extras=True)
    return {
        camel_case(field.name): _value(hints[field.name], getattr(config, field.name))
        for field in dataclasses.fields(config)
        if field.init
    }


def _value(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return as_values(value)
    if isinstance(value, Secret):
        return HIDDEN
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str | Path):
        return without_login(str(value))
    if isinstance(value, Mapping):
        return {str(name): _value(None, inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_value(None, each) for each in value]
    return _with_unit(hint, value)


def _with_unit(hint: Any, value: Any) -> Any:
    unit = _unit(hint)
    if isinstance(value, bool) or not isinstance(value, int | float) or unit is None:
        return value
    if unit == "seconds":
        return f"{value:.15g}s" if value == int(value) or value >= 1 else value
    for name, size in _BYTE_UNITS:
        if value and value % size == 0:
            return f"{value // size}{name}"
    return value


def _unit(hint: Any) -> str | None:
    if typing.get_origin(hint) is not Annotated:
        return next(filter(None, map(_unit, typing.get_args(hint))), None)
    return next((_UNIT_OF[mark] for mark in typing.get_args(hint)[1:] if isinstance(mark, Enum)), None)
