"""One input document, evaluated by all rules of a policy.

All rules are evaluated at once. When the policy leaves the environment open, they are evaluated again with the fallback
environment, so that the other rules and the environment agree. When one rule fails, it takes the results of all with
it; then they are evaluated one by one.
"""

import re
from collections.abc import Callable
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


MAX_RESULT_BYTES = 64 * 1024
"""Bytes of one rule's result as JSON."""

MAX_RESULT_DEPTH = 32
"""Collections in each other in one rule's result."""

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"')


def evaluate(engine: Engine, rules: list[str], document: str) -> bytes:
    """An `Evaluation` as JSON."""
    (results,) = engine.evaluate(document, ["decision"])
    if not isinstance(results, RuleError) and _is_small(results) and _needs_fallback(results, document):
        (results,) = engine.evaluate(document, ["decision_with_fallback"])
    if not isinstance(results, RuleError) and _is_small(results) and results.startswith(b"{"):
        return b'{"results":' + results + b"}"
    return msgspec.json.encode(evaluate_each(engine, rules, document))


def _is_small(results: bytes) -> bool:
    """Whether no result of these can exceed a limit; a quick look that errs towards no."""
    return len(results) <= MAX_RESULT_BYTES and results.count(b"[") + results.count(b"{") <= MAX_RESULT_DEPTH


def _check_limits(result: bytes | RuleError) -> bytes | RuleError:
    """The result, or an error in its place when it exceeds a limit."""
    if isinstance(result, RuleError) or _is_small(result):
        return result
    if len(result) > MAX_RESULT_BYTES:
        return RuleError(message=f"the result has {len(result)} bytes; at most {MAX_RESULT_BYTES} are allowed")
    depth = deepest = 0
    for byte in _STRINGS.sub(b"", result):
        depth += (byte in b"[{") - (byte in b"]}")
        deepest = max(deepest, depth)
    # One list is ours: it tells an undefined result from others.
    if deepest > MAX_RESULT_DEPTH + 1:
        return RuleError(message=f"the result nests deeper than {MAX_RESULT_DEPTH}")
    return result


def environment_is_open(environment: bytes, document: str) -> bool:
    """Whether the policy leaves the environment open; `environment` is the result of its rule."""
    return _needs_fallback(b'{"environment":' + environment + b"}", document)


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


def evaluate_each(
    engine: Engine, rules: list[str], document: str, announce: Callable[[str], None] = lambda _: None
) -> Evaluation:
    """The results of the rules one by one; each is announced before."""
    announce("environment")
    (environment,) = map(_check_limits, engine.evaluate(document, ["environment"]))
    needs_fallback = isinstance(environment, RuleError) or environment_is_open(environment, document)
    suffix = "_with_fallback" if needs_fallback else ""
    values = [environment]
    for rule in rules:
        announce(rule)
        values += map(_check_limits, engine.evaluate(document, [rule + suffix]))
    results: dict[str, Any] = {}
    errors: dict[str, RuleError] = {}
    for rule, value in zip(["environment", *rules], values, strict=True):
        if isinstance(value, RuleError):
            errors[rule] = value
            continue
        try:
            results[rule] = msgspec.json.decode(value)
        except (ValueError, RecursionError) as error:
            errors[rule] = RuleError(message=f"the result cannot be read: {error}")
    return Evaluation(results=results, errors=errors)
