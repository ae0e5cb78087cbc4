"""Addresses and networks as Go's net package has them."""

import ipaddress
import re
from typing import Any, NamedTuple

from kubernaut.signalprocessing.policy.builtins.results import Undefined, text

_V4, _V6 = 4, 16  # bytes
_MAPPED = bytes(10) + b"\xff\xff"
_DIGITS = re.compile(r"[0-9]{1,8}")


class _Network(NamedTuple):
    first: bytes
    prefix: int

    @property
    def bits(self) -> int:
        return len(self.first) * 8

    def contains(self, address: bytes) -> bool:
        """An IPv6 network of mapped addresses counts as the IPv4 network that it is."""
        first, prefix, other = _short(self.first), self.prefix, _short(address)
        if len(first) < len(self.first):
            prefix = max(0, prefix - len(_MAPPED) * 8)
        if len(first) != len(other):
            return False
        shift = len(first) * 8 - prefix
        return int.from_bytes(first, "big") >> shift == int.from_bytes(other, "big") >> shift

    @property
    def last(self) -> bytes:
        hosts = (1 << (self.bits - self.prefix)) - 1
        return (int.from_bytes(self.first, "big") | hosts).to_bytes(len(self.first), "big")


def cidr_contains(network: Any, other: Any) -> bool:
    known, wanted = text(network), text(other)
    outer = _network(known)
    address = _address(wanted)
    if address is not None:
        return outer.contains(address)
    inner = _network(wanted)
    return outer.contains(inner.first) and outer.contains(inner.last)


def cidr_intersects(left: Any, right: Any) -> bool:
    one, other = _network(text(left)), _network(text(right))
    return one.contains(other.first) or other.contains(one.first)


def cidr_is_valid(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        _network(value)
    except Undefined:
        return False
    return True


def _short(address: bytes) -> bytes:
    return address[len(_MAPPED) :] if len(address) == _V6 and address.startswith(_MAPPED) else address


def _address(written: str) -> bytes | None:
    """The bytes of an address; None for what is none, or has a zone."""
    if "%" in written or not written.isascii():
        return None
    try:
        return ipaddress.ip_address(written).packed
    except ValueError:
        return None


def _network(written: str) -> _Network:
    address, separator, digits = written.partition("/")
    packed = _address(address)
    if packed is None or not separator or not _DIGITS.fullmatch(digits) or int(digits) > len(packed) * 8:
        raise Undefined("not a network")
    shift = len(packed) * 8 - int(digits)
    first = int.from_bytes(packed, "big") >> shift << shift
    return _Network(first=first.to_bytes(len(packed), "big"), prefix=int(digits))
