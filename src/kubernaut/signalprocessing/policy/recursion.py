"""Functions that call themselves, which OPA refuses, and which would end the engine's process."""

from typing import Any

from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy.syntax import nodes, path_of, place_of


def check(file: str, source: bytes, tree: dict[str, Any]) -> None:
    """Raise PolicyError at the first function that reaches itself by calls of functions of its file."""
    rules = [rule for each in tree["rules"] for kind, rule in each.items() if kind == "Spec" and "Func" in rule["head"]]
    package = path_of(*_only(tree["package"]["refr"]))
    calls: dict[str, set[str]] = {}
    for rule in rules:
        calls.setdefault(_name(rule), set()).update(_called(rule, package))
    for rule in rules:
        name = _name(rule)
        if name in _reached(name, calls):
            line, column = place_of(source, rule["span"]["start"])
            text = f"rule {name} is recursive: {name} calls itself"
            if name not in calls[name]:
                text = (
                    f"rule {name} is recursive: it calls {', '.join(sorted(calls[name] & set(calls)))}, and that {name}"
                )
            raise PolicyError(text, file=file, line=line, column=column, rule=name)


def _called(rule: dict[str, Any], package: tuple[str | None, ...]) -> set[str]:
    found = set()
    for kind, node in nodes(rule):
        if kind == "Call":
            path = path_of(*_only(node["fcn"]))
            if path[:1] == ("data",) and path[1:-1] == package:
                path = path[-1:]
            found.add(".".join(part or "" for part in path))
    return found


def _reached(name: str, calls: dict[str, set[str]]) -> set[str]:
    """The functions that are called by one, directly or not."""
    reached: set[str] = set()
    pending = [*calls[name]]
    while pending:
        called = pending.pop()
        if called in calls and called not in reached:
            reached.add(called)
            pending += calls[called]
    return reached


def _name(rule: dict[str, Any]) -> str:
    return ".".join(part or "" for part in path_of(*_only(rule["head"]["Func"]["refr"])))


def _only(node: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    ((kind, inner),) = node.items()
    return kind, inner
