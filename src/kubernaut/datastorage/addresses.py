"""One text for every IP address: RFC 5952, without the mixed notation that some versions of Python use and some do not.

`str()` of an IPv6 address depends on the interpreter: Python 3.13 writes `::ffff:10.0.0.1` where 3.11 and 3.12 write
`::ffff:a00:1`. The address is part of what is hashed, so its text is made here from its bytes.
"""

import ipaddress
import struct

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_GROUPS = struct.Struct(">8H")
_MAPPED = bytes(10) + b"\xff\xff"


def parse(text: str) -> str:
    """The canonical text of an address. Raises ValueError, also for one with a zone, which is local to a machine."""
    if "%" in text:
        raise ValueError("zones are local to a machine")
    return canonical_text(ipaddress.ip_address(text))


def canonical_text(address: Address) -> str:
    """The one text of an address; an interface keeps its prefix length, which intake never admits."""
    if isinstance(address, ipaddress.IPv4Interface | ipaddress.IPv6Interface):
        return str(address)
    packed = address.packed
    if len(packed) == 4:
        return ".".join(map(str, packed))
    return _ipv6(_GROUPS.unpack(packed))


def mixed_text(text: str) -> str | None:
    """How Python 3.13 spells a canonical text, where that differs: an IPv4 address mapped into IPv6."""
    if not text.startswith("::ffff:"):
        return None
    packed = ipaddress.ip_address(text).packed
    return "::ffff:" + ".".join(map(str, packed[12:])) if packed.startswith(_MAPPED) else None


def _ipv6(groups: tuple[int, ...]) -> str:
    start, length = _longest_zeros(groups)
    words = [f"{group:x}" for group in groups]
    if length < 2:
        return ":".join(words)
    return ":".join(words[:start]) + "::" + ":".join(words[start + length :])


def _longest_zeros(groups: tuple[int, ...]) -> tuple[int, int]:
    """Start and length of the longest run of zero groups, the first of equal ones."""
    best = run = (0, 0)
    for place, group in enumerate(groups):
        run = (place + 1, 0) if group else (run[0], run[1] + 1)
        if run[1] > best[1]:
            best = run
    return best
