"""Arithmetic as OPA does it: integers exactly, everything else with a mantissa of 64 bits.

The engine carries fractions as doubles. A result that no double stands for is `Inexact`, never a neighbour of it.
"""

import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

from kubernaut.signalprocessing.policy.builtins.results import Inexact, Undefined, integer, number

_PRECISION = 64  # bits
_MIN_INT, _MAX_INT = -(2**63), 2**63 - 1
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_GO_NUMBER = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|0x_?(?:[0-9a-f_]+\.?[0-9a-f_]*|\.[0-9a-f_]+)(?:p[+-]?[0-9]+)?|inf|infinity|nan|[0-9_]+)",
    re.IGNORECASE,
)
_MAX_EXPONENT = 400


def plus(left: Any, right: Any) -> int | float:
    return _calculate(left, right, lambda a, b: a + b)


def minus(left: Any, right: Any) -> int | float:
    return _calculate(left, right, lambda a, b: a - b)


def times(left: Any, right: Any) -> int | float:
    return _calculate(left, right, lambda a, b: a * b)


def divide(left: Any, right: Any) -> int | float:
    if number(right) == 0:
        raise Undefined("divide by zero")
    return _calculate(left, right, lambda a, b: a / b)


def modulo(left: Any, right: Any) -> int:
    a, b = integer(left), integer(right)
    if b == 0:
        raise Undefined("modulo by zero")
    rest = abs(a) % abs(b)
    return -rest if a < 0 else rest


def absolute(value: Any) -> int | float:
    return _in_range(abs(number(value)))


def ceil(value: Any) -> int:
    """As OPA: it adds one to what the formatting rounded away from zero."""
    return _rounded(value, up=True)


def floor(value: Any) -> int:
    return _rounded(value, up=False)


def to_number(value: Any) -> int | float:
    if value is None or isinstance(value, bool):
        return int(bool(value))
    if isinstance(value, (int, float)):
        return value
    if not isinstance(value, str):
        raise Undefined("not a number")
    if _JSON_NUMBER.fullmatch(value):
        return _parsed(value)
    if _GO_NUMBER.fullmatch(value):
        raise Inexact(f"OPA makes a number of {value[:40]!r} that is none in JSON")
    raise Undefined("not a number")


def format_int(value: Any, base: Any) -> str:
    whole = number(value)
    digits = {2: "b", 8: "o", 10: "d", 16: "x"}.get(base if not isinstance(base, bool) else 0)
    if digits is None:
        raise Undefined("operand 2 must be one of {2, 8, 10, 16}")
    return format(int(whole), digits)


def shift_left(value: Any, count: Any) -> int | float:
    if integer(count) < 0:
        raise Undefined("negative shift")
    if count > 1024:
        raise Inexact("the result is larger than this engine's integers")
    return _in_range(integer(value) << count)


def shift_right(value: Any, count: Any) -> int | float:
    if integer(count) < 0:
        raise Undefined("negative shift")
    return _in_range(integer(value) >> integer(count))


def total(values: Any) -> int | float:
    result: int | float = 0
    for value in _members(values):
        result = plus(result, value)
    return result


def product(values: Any) -> int | float:
    result: int | float = 1
    for value in _members(values):
        result = times(result, value)
    return result


def _members(values: Any) -> list[int | float]:
    if isinstance(values, (set, frozenset)):
        return sorted(map(number, values))
    if not isinstance(values, list):
        raise Undefined("not a collection")
    return [number(value) for value in values]


def _calculate(left: Any, right: Any, operation: Any) -> int | float:
    a, b = number(left), number(right)
    if isinstance(a, int) and isinstance(b, int):
        exact = operation(Fraction(a), Fraction(b))
        if exact.denominator == 1 and _MIN_INT <= exact <= _MAX_INT:
            return int(exact)
        return _representable(to_precision(exact))
    return _representable(to_precision(operation(_operand(a), _operand(b))))


def _operand(value: float) -> Fraction:
    """The decimal as it is written, in OPA's precision."""
    return to_precision(Fraction(repr(value)))


def to_precision(value: Fraction) -> Fraction:
    """The nearest number of 64 bits, ties to even."""
    if not value:
        return value
    exponent = value.numerator.bit_length() - value.denominator.bit_length() - _PRECISION
    for shift in (exponent, exponent + 1, exponent - 1):
        scaled = value / Fraction(2) ** shift
        mantissa = round(scaled)  # to even
        if abs(mantissa).bit_length() == _PRECISION or (abs(mantissa) == 2**_PRECISION):
            return Fraction(mantissa) * Fraction(2) ** shift
    return value


def _representable(value: Fraction) -> int | float:
    """The number for the engine; its shortest decimal must be the one that OPA writes."""
    if value.denominator == 1 and _MIN_INT <= value <= _MAX_INT:
        return int(value)
    near = float(value)
    if to_precision(Fraction(repr(near))) != value or near in (float("inf"), float("-inf")):
        raise Inexact("the result has more digits than this engine's numbers")
    return near


def _rounded(value: Any, *, up: bool) -> int:
    given = number(value)
    if isinstance(given, int):
        return given
    exact = Fraction(repr(given))
    whole = abs(exact).__trunc__()
    if exact < 0:
        # OPA loses the sign of a number between 0 and -1 when it cuts its fraction off.
        base = -whole
        return (base + 1 if whole == 0 else base) if up else (base if whole == 0 else base - 1)
    return whole + 1 if up and exact != whole else whole


def _in_range(value: float) -> int | float:
    if isinstance(value, int) and not _MIN_INT <= value <= _MAX_INT:
        raise Inexact("the result is larger than this engine's integers")
    return value


def _parsed(written: str) -> int | float:
    exact = Decimal(written)
    if exact and abs(exact.adjusted()) > _MAX_EXPONENT:
        raise Inexact("the number has an exponent beyond this engine's numbers")
    if exact == exact.to_integral_value():
        return _in_range(int(exact))
    near = float(written)
    if Decimal(repr(near)) != exact:
        raise Inexact("the number has more digits than this engine's numbers")
    return near
