"""Who can reach an address. Pure."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether nobody outside of this machine can reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
