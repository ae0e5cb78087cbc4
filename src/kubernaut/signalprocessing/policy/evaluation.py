"""One input document, evaluated by all rules of a policy.

All rules are evaluated at once. When the policy leaves the environment open, they are evaluated again with the fallback
environment, so that the other rules and the environment agree. When one rule fails, it takes the results of all with
it; then they are evaluated one by one.
"""

from typing import Any

import msgspec

from kubernaut.signalprocessing.policy.engines import Engine
from kubernaut.signalprocessing.policy.environment import is_decided
from kubernaut.signalprocessing.policy.protocol import Evaluation, RuleError


class _Environment(msgspec.Struct, frozen=True):
    environment: str = ""
    source: str = ""


class _Input(msgspec.Struct, rename="camel"):
    fallback_environment: _Environment = _Environment()


class _Results(msgspec.Struct):
    environment: list[_Environment] = []


_decode_input = msgspec.json.Decoder(_Input).decode
_decode_results = msgspec.json.Decoder(_Results).decode


def evaluate(engine: Engine, rules: list[str], document: str) -> bytes:
    """An `Evaluation` as JSON."""
    (results,) = engine.evaluate(document, ["decision"])
    if not isinstance(results, RuleError) and _needs_fallback(results, document):
        (results,) = engine.evaluate(document, ["decision_with_fallback"])
    if not isinstance(results, RuleError) and results.startswith(b"{"):
        return b'{"results":' + results + b"}"
    return msgspec.json.encode(_evaluate_each(engine, rules, document))


def _needs_fallback(results: bytes, document: str) -> bool:
    """Whether the policy leaves the environment open, other than by returning the fallback environment itself."""
    try:
        decided = _decode_results(results).environment
    except msgspec.DecodeError:
        return True
    if not decided:
        return True
    if is_decided(decided[0].environment, decided[0].source):
        return False
    return decided[0].environment != _decode_input(document).fallback_environment.environment


def _evaluate_each(engine: Engine, rules: list[str], document: str) -> Evaluation:
    (environment,) = engine.evaluate(document, ["environment"])
    needs_fallback = isinstance(environment, RuleError) or _needs_fallback(
        b'{"environment":' + environment + b"}", document
    )
    suffix = "_with_fallback" if needs_fallback else ""
    values = [environment, *engine.evaluate(document, [rule + suffix for rule in rules])]
    results: dict[str, Any] = {}
    errors: dict[str, RuleError] = {}
    for rule, value in zip(["environment", *rules], values, strict=True):
        if isinstance(value, RuleError):
            errors[rule] = value
        else:
            results[rule] = msgspec.json.decode(value)
    return Evaluation(results=results, errors=errors)
