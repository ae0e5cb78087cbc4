"""What a stranger can take of a service: connections, bytes of a header section, time, and log lines."""

import resource
from dataclasses import dataclass
from typing import Annotated

from kubernaut.ops.settings import Between, Bytes, Seconds

RESERVED_DESCRIPTORS = 256
"""File descriptors that stay free of connections: for the service's own files, and its connections to others."""


@dataclass(frozen=True, kw_only=True)
class HttpLimits:
    """Limits of a service's HTTP server."""

    max_connections: Annotated[int, Between(10, 100_000)] = 1000
    """Open connections; above it the one that has waited longest for its client is closed. Lowered if the process may
    not open so many files."""

    max_header_size: Annotated[Bytes, Between(1024, 2**20)] = 16 * 1024
    """Bytes of a request's path and header fields; more is a 431."""

    max_header_count: Annotated[int, Between(10, 10_000)] = 100
    """Header fields of a request; more is a 431."""

    header_timeout: Annotated[Seconds, Between(0.05, 3600)] = 10.0
    """Seconds in which the header section must arrive, from the connection's start or the request's first byte."""

    body_timeout: Annotated[Seconds, Between(0.05, 3600)] = 30.0
    """Seconds in which the body must arrive after the header section."""

    write_timeout: Annotated[Seconds, Between(0.05, 3600)] = 30.0
    """Seconds for which a client may leave a response unread."""

    keep_alive_timeout: Annotated[Seconds, Between(0.05, 3600)] = 30.0
    """Seconds after which a connection without a request is closed."""

    max_log_lines: Annotated[int, Between(1, 1_000_000)] = 10
    """Log lines per second about rejected requests; the number of those left out is logged."""


def available_connections(limits: HttpLimits) -> int:
    """How many connections may be open: `max_connections`, or what the limit of open files leaves.

    Raises the process's soft limit of open files, up to the hard one, as far as that is needed.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = limits.max_connections + RESERVED_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return limits.max_connections
    # Very low limits are shared half and half.
    return max(soft - RESERVED_DESCRIPTORS, soft // 2)
