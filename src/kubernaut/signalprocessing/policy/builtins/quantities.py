"""Amounts with a unit, such as `10Ki` and `100m`."""

import re
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from typing import Any

from kubernaut.signalprocessing.policy.builtins.numbers import to_precision
from kubernaut.signalprocessing.policy.builtins.results import Inexact, Undefined, text
from kubernaut.signalprocessing.policy.builtins.texts import lower

_MAX_EXPONENT_DIGITS = 6
_MAX_EXPONENT = 400
_MAX_INT = 2**63 - 1
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE]([+-]?[0-9]+))?")
_NAMES = ("k", "m", "g", "t", "p", "e")
_BYTES = {name: 1000 ** (place + 1) for place, name in enumerate(_NAMES)}
_BYTES |= {f"{name}b": size for name, size in _BYTES.items()}
_BYTES |= {f"{name}{end}": 1024 ** (place + 1) for place, name in enumerate(_NAMES) for end in ("i", "ib")}
_UNITS = {f"{name}i": Fraction(1024 ** (place + 1)) for place, name in enumerate(_NAMES)}
_UNITS |= {name: Fraction(1000 ** (place + 1)) for place, name in enumerate(_NAMES)}
_UNITS |= {f"{name[0].upper()}{name[1:]}": size for name, size in [*_UNITS.items()]}
_UNITS |= {"": Fraction(1), "m": Fraction(0.001)}
"""`m` is the double next to a thousandth, as in OPA."""


def parse_bytes(value: Any) -> int:
    number, unit = _split(lower(text(value)).replace('"', ""))
    if unit and unit not in _BYTES:
        raise Undefined("byte unit not recognized")
    amount = to_precision(_amount(number))
    return _in_range(int(to_precision(amount * _BYTES.get(unit, 1))))


def parse(value: Any) -> int | float:
    number, unit = _split(text(value).replace('"', ""))
    unit = unit[:1] + lower(unit[1:])
    if unit not in _UNITS:
        raise Undefined("unit not recognized")
    exact = _amount(number) * _UNITS[unit]
    if exact.denominator == 1:
        return _in_range(int(exact))
    with localcontext() as context:
        context.prec = 1000
        digits = Decimal(exact.numerator) / Decimal(exact.denominator)
        written = digits.quantize(Decimal("1e-10"), rounding=ROUND_HALF_UP)
    near = float(written)
    if Decimal(repr(near)) != written:
        raise Inexact("the number has more digits than this engine's numbers")
    return near


def _split(written: str) -> tuple[str, str]:
    """The number and what follows it; undefined where there is a blank or no number."""
    if " " in written:
        raise Undefined("spaces are not allowed")
    content = written.encode()
    place = 0
    while place < len(content):
        sign = content[place : place + 1]
        if sign in (b"e", b"E"):
            following = content[place + 1 : place + 2]
            if not following or following not in b"0123456789+-":
                break
            place += following in b"+-"
            digits = re.match(rb"[0-9]*", content[place + 1 :])
            if digits and len(digits[0]) > _MAX_EXPONENT_DIGITS:
                raise Undefined("exponent too large")
        elif sign not in b"0123456789.+-":
            break
        place += 1
    if not place:
        raise Undefined("no amount")
    return content[:place].decode(), content[place:].decode()


def _amount(number: str) -> Fraction:
    match = _NUMBER.fullmatch(number)
    if match is None:
        raise Undefined("not a number")
    if abs(int(match[1] or 0)) > _MAX_EXPONENT:
        raise Inexact("the number has an exponent beyond this engine's numbers")
    return Fraction(number)


def _in_range(value: int) -> int:
    if abs(value) > _MAX_INT:
        raise Inexact("the result is larger than this engine's integers")
    return value
