"""Objects of built-in kinds in Kubernetes' protobuf encoding, as kubectl and client-go send them.

The server reads this encoding and answers in JSON, which every client accepts. The numbers of the fields are in
`protobuf_fields.jsonl`, written by `scripts/protobuf-fields` from the sources of Kubernetes (Apache License 2.0, The
Kubernetes Authors).
"""

import base64
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from typing import Any

import msgspec

from pocketkube.codec import decode

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"

_MAGIC = b"k8s\x00"
_MAX_DEPTH = 64
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_CRD = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Field = tuple[str, str, str]
Value = int | bytes


@cache
def _messages() -> dict[str, dict[int, Field]]:
    text = resources.files(__package__).joinpath("protobuf_fields.jsonl").read_bytes()
    return dict(msgspec.json.Decoder(tuple[str, dict[int, Field]]).decode_lines(text))


def decode_object(body: bytes, message: str) -> dict[str, Any]:
    """Return the object of a body as JSON would state it; raise a ValueError for a malformed one."""
    if not body.startswith(_MAGIC):
        raise ValueError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    if message not in _messages():
        raise ValueError(f"the protobuf encoding of {message} is not known")
    envelope = dict(_fields(body[len(_MAGIC) :]))
    identity = {number: _text(value) for number, value in _fields(_bytes(envelope.get(1, b"")))}
    content = _message(message, _bytes(envelope.get(2, b"")), 0)
    value = {"apiVersion": identity.get(1, ""), "kind": identity.get(2, "")}
    return {**{name: text for name, text in value.items() if text}, **(content or {})}


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Yield number and undecoded value of each field."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        value: Value
        if wire_type == 0:
            value, position = _varint(data, position)
        else:
            if wire_type == 2:
                size, position = _varint(data, position)
            elif wire_type in {1, 5}:
                size = 8 if wire_type == 1 else 4
            else:
                raise ValueError(f"proto: illegal wireType {wire_type}")
            value = data[position : position + size]
            position += size
            if len(value) != size:
                raise ValueError("unexpected EOF")
        yield number, value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise ValueError("unexpected EOF")
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFFFFFFFFFFFFFF, position
    raise ValueError("proto: integer overflow")


def _bytes(value: Value) -> bytes:
    if isinstance(value, int):
        raise ValueError("proto: wrong wireType = 0")
    return value


def _text(value: Value) -> str:
    return _bytes(value).decode()


def _signed(value: Value) -> int:
    if not isinstance(value, int):
        raise ValueError("proto: wrong wireType = 2")
    return value - (1 << 64) if value >= 1 << 63 else value


def _double(value: Value) -> float:
    (number,) = struct.unpack("<d", _bytes(value)) if not isinstance(value, int) and len(value) == 8 else (None,)
    if number is None:
        raise ValueError("proto: malformed double")
    return float(number)


_SCALARS: dict[str, Callable[[Value], Any]] = {
    "string": _text,
    "bytes": lambda value: base64.b64encode(_bytes(value)).decode(),
    "bool": lambda value: bool(_signed(value)),
    "double": _double,
    "int32": _signed,
    "int64": _signed,
    "uint32": _signed,
    "uint64": _signed,
}


def _message(name: str, data: bytes, depth: int) -> Any:
    """Return a message as JSON states it; None for one that says nothing and is written as null."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"nested more than {_MAX_DEPTH} levels deep")
    result: dict[str, Any] = {}
    fields = _messages()[name]
    for number, value in _fields(data):
        field = fields.get(number)
        if field is not None:
            _add(result, field, value, depth)
    special = _SPECIAL.get(name)
    return result if special is None else special(result)


def _add(result: dict[str, Any], field: Field, value: Value, depth: int) -> None:
    name, kind, how = field
    if how == "map":
        entry = dict(_fields(_bytes(value)))
        result.setdefault(name, {})[_text(entry.get(1, b""))] = _one(kind, entry.get(2, _empty(kind)), depth)
        return
    decoded = _one(kind, value, depth)
    if how == "list":
        result.setdefault(name, []).append(decoded)
    elif how == "inline":
        result.update(decoded or {})
    elif how == "pointer" or decoded not in (None, "", 0, False, {}):
        result[name] = decoded


def _one(kind: str, value: Value, depth: int) -> Any:
    scalar = _SCALARS.get(kind)
    return _message(kind, _bytes(value), depth + 1) if scalar is None else scalar(value)


def _empty(kind: str) -> Value:
    return 0 if kind in {"bool", "int32", "int64", "uint32", "uint64"} else b""


def _time(fields: dict[str, Any]) -> str | None:
    return None if not fields else _moment(fields).strftime("%Y-%m-%dT%H:%M:%SZ")


def _micro_time(fields: dict[str, Any]) -> str | None:
    return None if not fields else _moment(fields).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _moment(fields: dict[str, Any]) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=fields.get("seconds", 0), microseconds=fields.get("nanos", 0) // 1000)
    except OverflowError:
        raise ValueError("time out of range") from None


def _raw(fields: dict[str, Any]) -> Any:
    raw = next(iter(fields.values()), None)
    return None if raw is None else decode(base64.b64decode(raw))


def _int_or_string(fields: dict[str, Any]) -> int | str:
    value: int | str = fields.get("strVal", "") if fields.get("type") else fields.get("intVal", 0)
    return value


def _schema_or(key: str, default: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda fields: fields["schema"] if fields.get("schema") is not None else fields.get(key, default)


_SPECIAL: dict[str, Callable[[dict[str, Any]], Any]] = {
    f"{_META}Time": _time,
    f"{_META}MicroTime": _micro_time,
    f"{_META}FieldsV1": _raw,
    "io.k8s.apimachinery.pkg.runtime.RawExtension": _raw,
    "io.k8s.apimachinery.pkg.api.resource.Quantity": lambda fields: fields.get("string", "0"),
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": _int_or_string,
    "io.k8s.api.authentication.v1.ExtraValue": lambda fields: fields.get("items", []),
    "io.k8s.api.authorization.v1.ExtraValue": lambda fields: fields.get("items", []),
    f"{_CRD}JSON": _raw,
    f"{_CRD}JSONSchemaPropsOrBool": _schema_or("allows", False),
    f"{_CRD}JSONSchemaPropsOrArray": _schema_or("jSONSchemas", []),
    f"{_CRD}JSONSchemaPropsOrStringArray": _schema_or("property", []),
}
