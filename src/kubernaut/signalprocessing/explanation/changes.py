"""Changes of one input that are worth trying: those that the policy itself speaks of; pure.

Every input that was read is set to the texts that the policy compares with, is removed, and where the policy looks at
the beginning or end of a name, gets that. Nothing else can tell two branches of a policy apart, with the exception of
numbers, of which the ones just below and above are tried.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from kubernaut.api.facts import DecisionFacts
from kubernaut.api.vocabulary import Environment, EnvironmentSource, Severity
from kubernaut.signalprocessing.explanation.provenance import FactPath, value_of

MAX_TRIED = 600
"""Changes that are tried at most."""

UNKNOWN = "no-such-value"
"""A value that no policy knows; tried to tell the values that it does know from all others."""

ANY = "(any other value)"
"""What is shown in place of a value that the policy does not know."""

_FIRST = [*(environment.lower() for environment in Environment), *Severity]
_CONTEXT = "kubernetesContext"
_FALLBACK = ("fallbackEnvironment",)


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One input with another value; None removes it."""

    fact: FactPath
    value: Any
    facts: DecisionFacts


def candidates(facts: DecisionFacts, read: Iterable[FactPath], constants: list[str]) -> list[Candidate]:
    """Changes to try, the plainer ones first."""
    plain: dict[str, Any] = msgspec.to_builtins(facts)
    known = [word for word in _FIRST if word in {constant.lower() for constant in constants}]
    values = list(dict.fromkeys([UNKNOWN, *known, *constants]))
    queues = [list(_of(plain, fact, values)) for fact in dict.fromkeys(map(_changeable, read)) if fact]
    # One of each input in turn, so that the limit leaves no input out.
    turns = [queue[turn] for turn in range(max(map(len, queues), default=0)) for queue in queues if turn < len(queue)]
    found: list[Candidate] = []
    for fact, value in turns[:MAX_TRIED]:
        changed = _changed(plain, fact, value)
        found.append(Candidate(fact=fact, value=value, facts=msgspec.convert(changed, DecisionFacts)))
    return found


def describe(facts: DecisionFacts, fact: FactPath, value: Any) -> str:
    """The change in words: `namespace label env=staging`."""
    if fact == _FALLBACK:
        namespace = facts.kubernetes_context.namespace
        return f"the mapping of namespace {namespace.name if namespace else ''} to {value['environment']}"
    what = _subject(fact)
    if value is None:
        return f"without {what}"
    separator = "=" if fact[-2] in ("labels", "annotations") else " "
    return f"{what}{separator}{value if isinstance(value, str) else msgspec.json.encode(value).decode()}"


def _subject(fact: FactPath) -> str:
    holder = "alert" if fact[0] == "signal" else fact[1]
    names = {"detectedLabels": "detected", "cluster": "cluster"}
    if fact[-2] in ("labels", "annotations"):
        return f"{names.get(holder, holder)} {fact[-2].removesuffix('s')} {fact[-1]}"
    return f"{names.get(holder, holder)} {fact[-1]}"


def _changeable(fact: FactPath) -> FactPath:
    """The fact that would have to change; empty for one that is no single value."""
    if fact[0] == _FALLBACK[0]:
        return _FALLBACK
    if fact[0] == "signal":
        is_single = (len(fact) == 2 and fact[1] != "labels") or (len(fact) == 3 and fact[1] == "labels")
        return fact if is_single else ()
    is_label = len(fact) == 4 and fact[2] in ("labels", "annotations")
    is_detected = len(fact) == 3 and fact[1] == "detectedLabels" and fact[2] != "failedDetections"
    is_name = len(fact) == 3 and fact[1] in ("namespace", "workload") and fact[2] in ("name", "kind")
    return fact if is_label or is_detected or is_name else ()


def _of(plain: dict[str, Any], fact: FactPath, constants: list[str]) -> Iterator[tuple[FactPath, Any]]:
    """The other values of one fact."""
    if fact == _FALLBACK:
        for environment in Environment:
            if environment != plain["fallbackEnvironment"]["environment"]:
                yield fact, {"environment": environment, "source": EnvironmentSource.CONFIGMAP}
        return
    now = value_of(plain, fact)
    if fact[0] == _CONTEXT and fact[1] != "detectedLabels" and value_of(plain, fact[:2]) is None:
        return  # there is nothing whose label could be another
    if fact[1] == "detectedLabels" and not isinstance(now, str) and fact[2] not in ("gitOpsTool", "serviceMesh"):
        yield fact, not now
        return
    is_required = fact[-1] in ("name", "kind", "severity") and fact[-2] not in ("labels", "annotations")
    values: list[Any] = list(constants)
    if now is not None and not is_required:
        values.insert(0, None)
    if isinstance(now, str):
        values += [f"{constant}{now}" for constant in constants if constant.endswith(("-", "_", ".", "/"))]
        values += [f"{now}{constant}" for constant in constants if constant.startswith(("-", "_", ".", "/"))]
    values += [str(int(constant) + step) for constant in constants if _is_whole(constant) for step in (-1, 1)]
    for value in dict.fromkeys(values):
        if value != now and (value or not is_required):
            yield fact, value


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def _changed(plain: dict[str, Any], fact: FactPath, value: Any) -> dict[str, Any]:
    """A copy with one value changed."""
    name, *rest = fact
    copy = dict(plain)
    if rest:
        copy[name] = _changed(copy.get(name) or {}, tuple(rest), value)
    elif value is None:
        copy.pop(name, None)
    else:
        copy[name] = value
    return copy
