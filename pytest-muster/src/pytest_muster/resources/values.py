"""Plain data: what a shared resource may publish, because it travels to the workers as JSON."""

import json
import math
from pathlib import Path
from typing import Any


class NotPlain(TypeError):
    """What a shared resource published is no plain data."""


def plain(name: str, value: object) -> Any:
    """A copy of the value as every worker will see it. Raises NotPlain where JSON would lose or change something."""
    _check(name, value, "")
    return json.loads(json.dumps(value))


_ADVICE: dict[type, str] = {
    bytes: "decode it",
    tuple: "make it a list",
    set: "make it a sorted list",
    frozenset: "make it a sorted list",
}


def _check(name: str, value: object, path: str) -> None:
    match value:
        case None | bool() | int() | str():
            return
        case float() if math.isfinite(value):
            return
        case list():
            for index, member in enumerate(value):
                _check(name, member, f"{path}[{index}]")
            return
        case dict():
            for key, member in value.items():
                if not isinstance(key, str):
                    raise NotPlain(
                        f"shared resource {name!r} published the key {key!r} of type {type(key).__name__} in "
                        f"{name}{path}; keys must be strings, because the value travels to the workers as JSON"
                    )
                _check(name, member, f"{path}[{key!r}]")
            return
        case Path():
            advice = "publish str(path)"
        case _:
            advice = _ADVICE.get(type(value), "publish what a worker needs to make its own, such as an address")
    raise NotPlain(
        f"shared resource {name!r} published {name}{path} of type {type(value).__name__}"
        f"{f' ({value})' if isinstance(value, float) else ''}, which is no plain data and cannot travel to the workers "
        f"as JSON; {advice}"
    )
