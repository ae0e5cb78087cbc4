"""`sprintf` as Go's: the verbs and flags that policies need, wrong operands included."""

import json
import re
from decimal import Decimal
from typing import Any

from kubernaut.signalprocessing.policy.builtins.results import (
    MARK,
    WRITTEN_AS_FRACTIONS,
    Inexact,
    Undefined,
    number,
    text,
)

_VERB = re.compile(r"%([-+# 0]*)([0-9]*)((?:\.[0-9]*)?)(.|$)", re.DOTALL)
_MAX_PLAIN_EXPONENT = 6


def sprintf(template: Any, operands: Any) -> str:
    whole = text(template)
    if not isinstance(operands, list):
        raise Undefined("operand 2 must be an array")
    if re.search(r"%[-+# 0]*(?:[0-9]*\.?[*\[]|[0-9]+\.?[*\[])", whole):
        raise Inexact("sprintf with * or [n] is not available")
    rest = [_operand(value) for value in operands]
    used = 0

    def render(match: re.Match[str]) -> str:
        nonlocal used
        flags, width, precision, verb = match.groups()
        if not verb:
            return "%!(NOVERB)"
        if verb == "%":
            return "%"
        if used >= len(rest):
            return f"%!{verb}(MISSING)"
        if len(width) > 3 or len(precision) > 4:
            raise Inexact("sprintf with a width above 999 is not available")
        value = rest[used]
        used += 1
        # A plus before `v` asks Go for the names of fields, not for a sign.
        spec = _Spec(
            flags.replace("+", "") if verb == "v" else flags,
            int(width or 0),
            int(precision[1:] or 0) if precision else None,
        )
        rendered = _render(value, verb, spec)
        if rendered is None:
            inner = _render(value, "v", spec)
            return f"%!{verb}({_type(value)}={inner})"
        return rendered

    result = _VERB.sub(render, whole)
    if used < len(rest):
        extra = ", ".join(f"{_type(value)}={_render(value, 'v', _Spec('', 0, None))}" for value in rest[used:])
        result += f"%!(EXTRA {extra})"
    return result


class _Spec:
    def __init__(self, flags: str, width: int, precision: int | None) -> None:
        self.minus = "-" in flags
        self.plus = "+" in flags
        self.sharp = "#" in flags
        self.space = " " in flags
        self.zero = "0" in flags
        self.width = width
        self.precision = precision

    def pad(self, content: str, *, zero: bool | None = None) -> str:
        missing = self.width - len(content)
        if missing <= 0:
            return content
        if self.minus:
            return content + " " * missing
        return ("0" if (self.zero if zero is None else zero) else " ") * missing + content


def _operand(value: Any) -> int | float | str:
    """Go formats a fraction as the double next to it."""
    if isinstance(value, str):
        return float(number(value)) if value.startswith(MARK) else value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    return _term(value)


def _term(value: Any) -> str:
    """A term as OPA writes it."""
    if isinstance(value, bool) or value is None or isinstance(value, int):
        return json.dumps(value)
    if isinstance(value, str) and not value.startswith(MARK):
        written = json.dumps(value, ensure_ascii=False)
        if written[1:-1] != value:
            raise Inexact("sprintf of a collection with escaped text is not available")
        return written
    if isinstance(value, list):
        return "[" + ", ".join(map(_term, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_term(key)}: {_term(item)}" for key, item in sorted(value.items())) + "}"
    raise Inexact("sprintf of sets and of fractions in collections is not available")


def _type(value: float | str) -> str:
    _check_integer(value)
    return "string" if isinstance(value, str) else "float64" if isinstance(value, float) else "int64"


def _render(value: float | str, verb: str, spec: _Spec) -> str | None:
    """None when the verb does not take such a value."""
    if verb == "T":
        return _Spec("-" if spec.minus else "", spec.width, None).pad(_type(value)) if not spec.precision else _odd()
    if verb == "p":
        _odd()
    if spec.sharp and verb in "vs":
        _odd()
    if isinstance(value, str):
        return _render_text(value, verb, spec)
    if isinstance(value, int):
        return _render_integer(value, verb, spec)
    return _render_float(value, verb, spec)


def _odd() -> str:
    raise Inexact("sprintf with this verb or flag is not available")


def _render_text(value: str, verb: str, spec: _Spec) -> str | None:
    if verb in "sv":
        content = value if spec.precision is None else value[: spec.precision]
        return spec.pad(content)
    if verb in "xX":
        if spec.sharp or spec.space or spec.precision is not None:
            _odd()
        content = value.encode().hex()
        return spec.pad(content.upper() if verb == "X" else content)
    if verb == "q":
        if not re.fullmatch(r"[ !#-\[\]-~]*", value) or spec.sharp or spec.plus or spec.precision is not None:
            _odd()
        return spec.pad(f'"{value}"')
    return None


def _check_integer(value: float | str) -> None:
    if isinstance(value, int) and value in WRITTEN_AS_FRACTIONS:
        raise Inexact(f"sprintf of {value}, which was read from a text with a point or an exponent, takes %v only")


def _render_integer(value: int, verb: str, spec: _Spec) -> str | None:
    if verb != "v":
        _check_integer(value)
    if verb in "cqU":
        _odd()
    base = {"d": "d", "v": "d", "x": "x", "X": "X", "o": "o", "b": "b", "O": ""}.get(verb)
    if base is None:
        return None
    if not base or spec.sharp:
        _odd()
    digits = format(abs(value), base)
    sign = "-" if value < 0 else "+" if spec.plus else " " if spec.space else ""
    zero = spec.zero and spec.precision is None
    if spec.precision is not None:
        digits = "" if spec.precision == 0 and value == 0 else digits.rjust(spec.precision, "0")
        if not digits:
            return _Spec("", spec.width, None).pad("")
    if zero and not spec.minus:
        return sign + digits.rjust(spec.width - len(sign), "0")
    return spec.pad(sign + digits, zero=False)


def _render_float(value: float, verb: str, spec: _Spec) -> str | None:
    if verb in "xXb":
        _odd()
    if verb not in "eEfFgGv":
        return None
    if spec.sharp or (verb in "gGv" and spec.precision is not None):
        _odd()
    if verb in "gGv":
        content = _shortest(abs(value))
        content = content.upper() if verb == "G" else content
    else:
        precision = 6 if spec.precision is None else spec.precision
        content = format(abs(value), f".{precision}{'f' if verb in 'fF' else verb}")
    sign = "-" if value < 0 or str(value).startswith("-") else "+" if spec.plus else " " if spec.space else ""
    if spec.zero and not spec.minus:
        return sign + content.rjust(spec.width - len(sign), "0")
    return spec.pad(sign + content, zero=False)


def _shortest(value: float) -> str:
    """The fewest digits that mean this number; with an exponent below -4 and from 6 on, as Go's."""
    digits = Decimal(repr(value)).normalize()
    power = digits.adjusted() if digits else 0
    if -4 <= power < _MAX_PLAIN_EXPONENT:
        return format(digits, "f")
    first, *rest = map(str, digits.as_tuple().digits)
    mantissa = f"{first}.{''.join(rest)}" if rest else first
    return f"{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"
