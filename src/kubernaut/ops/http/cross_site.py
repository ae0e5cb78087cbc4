"""Requests that a web page makes a browser send to a service without authentication. Pure.

A service that lets everybody in listens on a loopback address, where a browser may be: any page can post to it, and
one whose name comes to resolve to 127.0.0.1 (DNS rebinding) can read it. Neither can give another Host or Origin.
Programs are not affected, as they send no Origin, and address the service by a local name.
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers

_LOCAL_NAMES = ("localhost", "host.docker.internal", "host.containers.internal")
"""Names that nobody outside can make resolve to this machine, besides those without a dot."""


def cross_site_reason(headers: Headers, *, is_write: bool) -> str | None:
    """Why a request is refused; None when it is not from a foreign page."""
    host = headers.get("host", "")
    if host and not _is_local(_name_of(f"//{host}")):
        return (
            "without authentication only requests to 127.0.0.1, localhost or a name without a dot are served, because "
            "a web page may have sent this one; set auth.mode to use other names"
        )
    origin = headers.get("origin")
    if is_write and origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        return "without authentication nothing is taken from the web pages of other sites; set auth.mode"
    return None


def _name_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # brackets that hold no address
        return "invalid.host"


def _is_local(name: str) -> bool:
    if "." not in name or name in _LOCAL_NAMES or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
