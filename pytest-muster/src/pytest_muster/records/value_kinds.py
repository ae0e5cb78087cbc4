"""What kind of value a variable holds, never the value itself."""

from collections.abc import Iterable, Mapping, Sized
from types import BuiltinFunctionType, FunctionType, ModuleType


def kind_of(value: object) -> str:
    """`None`, `empty str`, `list of 3`, `Client`, …: enough to see that something is missing, never what it is."""
    if value is None:
        return "None"
    name = type(value).__name__
    if type(value) in _SIZED:
        size = len(value)  # type: ignore[arg-type]  # sized by the line above
        if not size:
            return f"empty {name}"
        return name if isinstance(value, str | bytes) else f"{name} of {size}"
    return name


_SIZED = {str, bytes, bytearray, list, tuple, dict, set, frozenset}


def is_variable(value: object) -> bool:
    """Whether a global is state, rather than code. Asks its real class only: a proxy's answer may be an error."""
    return not issubclass(type(value), ModuleType | FunctionType | BuiltinFunctionType | type)


def own_members(value: object) -> Mapping[str, object]:
    """What an object keeps in its own `__dict__`."""
    try:
        members = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return members if isinstance(members, Mapping) else {}


def is_empty(value: object) -> bool:
    return type(value) in _SIZED and isinstance(value, Sized) and not len(value)


def variables(members: Mapping[str, object], names: Iterable[str], attributes: Iterable[str]) -> dict[str, str]:
    """Kinds of a module's variables that are among `names`, and of those of their attributes that are asked for."""
    found: dict[str, str] = {}
    prefix = members.get("__name__", "?")
    for name in names:
        if name not in members or name.startswith(("__", "@")):
            continue
        value = members[name]
        if is_variable(value):
            found[f"{prefix}.{name}"] = kind_of(value)
        elif not issubclass(type(value), type) or type.__getattribute__(value, "__module__") != members.get("__name__"):
            continue
        inner = own_members(value)
        for attribute in attributes:
            if attribute in inner and is_variable(inner[attribute]) and not hasattr(type(inner[attribute]), "__get__"):
                found[f"{prefix}.{name}.{attribute}"] = kind_of(inner[attribute])
    return found
