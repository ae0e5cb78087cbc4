"""Arithmetic as OPA does it: integers exactly, everything else with a mantissa of 64 bits.

The engine carries fractions as doubles. A result that no double stands for becomes a marked text, never a neighbour of
it; an integer that the engine does not have is `Inexact`.
"""

import re
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from functools import cmp_to_key
from math import prod
from typing import Any

from kubernaut.signalprocessing.policy.builtins.results import (
    MARK,
    WRITTEN_AS_FRACTIONS,
    Inexact,
    Undefined,
    integer,
    number,
)

Number = int | float | str
"""A number for the engine; a text is a marked fraction."""

_KINDS: tuple[Any, ...] = (str, list, dict, (set, frozenset))
"""What OPA orders behind numbers, in its order."""
_PRECISION, _DOUBLE_PRECISION = 64, 53  # bits
_DOUBLE_DIGITS, _DIGITS = 15, 21
"""Digits that every double keeps, and digits that tell any two numbers of 64 bits apart."""
_SMALLEST, _LARGEST = Fraction(1, 10**300), Fraction(10**300)
_MIN_INT, _MAX_INT = -(2**63), 2**63 - 1
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_GO_NUMBER = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|0x_?(?:[0-9a-f_]+\.?[0-9a-f_]*|\.[0-9a-f_]+)p[+-]?[0-9]+|inf|infinity|nan|[0-9_]+)",
    re.IGNORECASE,
)
_MAX_EXPONENT = 400


def plus(left: Any, right: Any) -> Number:
    return _calculate(left, right, lambda a, b: a + b)


def minus(left: Any, right: Any) -> Number:
    return _calculate(left, right, lambda a, b: a - b)


def times(left: Any, right: Any) -> Number:
    return _calculate(left, right, lambda a, b: a * b)


def divide(left: Any, right: Any) -> Number:
    if number(right) == 0:
        raise Undefined("divide by zero")
    return _calculate(left, right, lambda a, b: a / b)


def modulo(left: Any, right: Any) -> int:
    a, b = integer(left), integer(right)
    if b == 0:
        raise Undefined("modulo by zero")
    rest = abs(a) % abs(b)
    return -rest if a < 0 else rest


def absolute(value: Any) -> Number:
    given = number(value)
    return _representable(abs(_operand(given))) if isinstance(given, Fraction) else _in_range(abs(given))


def ceil(value: Any) -> int:
    """As OPA: it adds one to what the formatting rounded away from zero."""
    return _rounded(value, up=True)


def floor(value: Any) -> int:
    return _rounded(value, up=False)


def nearest(value: Any) -> int | float:
    """`round`: halves go away from zero."""
    given = number(value)
    if isinstance(given, int):
        return given
    exact = to_precision(abs(_operand(given)) + Fraction(1, 2))
    return _in_range(int(exact) if given > 0 else -int(exact))


def compare(left: Any, right: Any) -> int:
    """-1, 0 or 1: OPA's order. Raises Inexact for two objects and for two sets."""
    (rank, a), (other, b) = _ranked(left), _ranked(right)
    if rank != other:
        return -1 if rank < other else 1
    if isinstance(a, (dict, set, frozenset)):
        raise Inexact("objects or sets with fractions are compared")
    if not isinstance(a, list):
        return int(a > b) - int(a < b)
    differences = (order for order in map(compare, a, b) if order)
    return next(differences, (len(a) > len(b)) - (len(a) < len(b)))


def maximum(values: Any) -> Any:
    return max(values, key=cmp_to_key(compare))


def minimum(values: Any) -> Any:
    return min(values, key=cmp_to_key(compare))


def ascending(values: Any) -> list[Any]:
    """`sort` of an array or a set."""
    return sorted(values, key=cmp_to_key(compare))


def refuse(_: Any) -> None:
    """Raise Inexact: a fraction came to where only numbers of the engine may."""
    raise Inexact("a fraction has more digits here than this engine's numbers; `round` it first")


def to_number(value: Any) -> Number:
    if value is None or isinstance(value, bool):
        return int(bool(value))
    if isinstance(value, (int, float)) or (isinstance(value, str) and value.startswith(MARK)):
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


def total(values: Any) -> Number:
    result: Number = 0
    for value in _members(values):
        result = plus(result, value)
    return result


def product(values: Any) -> Number:
    """As OPA: exactly for integers, and with the 53 bits of its first factor, a double, for others."""
    factors = [number(value) for value in _members(values)]
    if all(isinstance(factor, int) for factor in factors):
        return _representable(Fraction(prod(factors)))
    result = Fraction(1)
    for factor in factors:
        result = to_precision(result * _operand(factor), _DOUBLE_PRECISION)
    written = Decimal(repr(float(result)))
    return _in_range(int(written)) if result.denominator == 1 else float(result)


def _members(values: Any) -> list[Any]:
    """The members of an array or a set, in OPA's order. Raises Undefined unless all are numbers."""
    if not isinstance(values, (list, set, frozenset)):
        raise Undefined("not a collection")
    for value in values:
        number(value)
    return values if isinstance(values, list) else ascending(values)


def _ranked(value: Any) -> tuple[int, Any]:
    """The place of a type in OPA's order, and what is compared within it."""
    if value is None or isinstance(value, bool):
        return int(value is not None), bool(value)
    if isinstance(value, (int, float)) or (isinstance(value, str) and value.startswith(MARK)):
        return 2, _operand(number(value))
    return 3 + next(place for place, kind in enumerate(_KINDS) if isinstance(value, kind)), value


def _calculate(left: Any, right: Any, operation: Any) -> Number:
    a, b = number(left), number(right)
    if isinstance(a, int) and isinstance(b, int):
        exact = operation(Fraction(a), Fraction(b))
        if exact.denominator == 1 and _MIN_INT <= exact <= _MAX_INT:
            return int(exact)
        return _representable(to_precision(exact))
    return _representable(to_precision(operation(_operand(a), _operand(b))))


def _operand(value: float | Fraction) -> Fraction:
    """The decimal as it is written, in OPA's precision."""
    return to_precision(value if isinstance(value, Fraction) else Fraction(repr(value)))


def to_precision(value: Fraction, bits: int = _PRECISION) -> Fraction:
    """The nearest number of so many bits, ties to even."""
    if not value:
        return value
    exponent = value.numerator.bit_length() - value.denominator.bit_length() - bits
    for shift in (exponent, exponent + 1, exponent - 1):
        scaled = value / Fraction(2) ** shift
        mantissa = round(scaled)  # to even
        if abs(mantissa).bit_length() == bits or abs(mantissa) == 2**bits:
            return Fraction(mantissa) * Fraction(2) ** shift
    return value


def _representable(value: Fraction) -> Number:
    """The number for the engine, whose shortest decimal must be the one that OPA writes; else a marked text."""
    if value.denominator == 1 and _MIN_INT <= value <= _MAX_INT:
        return int(value)
    if not _SMALLEST < abs(value) < _LARGEST:
        raise Inexact("the result has an exponent beyond this engine's numbers")
    near = float(value)
    if to_precision(Fraction(repr(near))) == value:
        return near
    if value.denominator == 1:
        raise Inexact("the result is larger than this engine's integers")
    return MARK + _shortest(value)


def _shortest(value: Fraction) -> str:
    """The fewest digits that mean this number and no other one of 64 bits."""
    for digits in range(_DOUBLE_DIGITS, _DIGITS + 1):
        with localcontext(prec=digits, rounding=ROUND_HALF_EVEN):
            written = Decimal(value.numerator) / Decimal(value.denominator)
        if to_precision(Fraction(written)) == value:
            return str(written)
    raise AssertionError("unreachable: so many digits tell numbers of 64 bits apart")


def _rounded(value: Any, *, up: bool) -> int:
    given = number(value)
    if isinstance(given, int):
        return given
    exact = Fraction(given if isinstance(given, Fraction) else repr(given))
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
        if not written.removeprefix("-").isdigit():
            WRITTEN_AS_FRACTIONS.add(int(exact))
        return _in_range(int(exact))
    near = float(written)
    if Decimal(repr(near)) != exact:
        raise Inexact("the number has more digits than this engine's numbers")
    return near
