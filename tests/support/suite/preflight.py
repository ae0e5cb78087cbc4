"""What is checked before anything is started, so that a run that cannot succeed ends at once with one error."""

import sys
from pathlib import Path
from urllib.parse import urlsplit

HOST = "127.0.0.1"
COMMAND = Path(sys.executable).with_name("kubernaut")
"""The command of the services."""
POLICY = Path(__file__).with_name("policy.rego")


class PreflightError(Exception):
    """Something that the suite needs is not as it must be; the message says what to do."""


def existing(path: Path) -> Path:
    """The path of a file that is there. Raises PreflightError."""
    if not path.is_file():
        raise PreflightError(f"{path} does not exist: run `make install`, and start pytest from the repository")
    return path


def address(url: str) -> str:
    """An address that means one thing only. Raises PreflightError.

    `localhost` is ::1 first on many machines, and our services listen on 127.0.0.1.
    """
    if urlsplit(url).hostname != HOST:
        raise PreflightError(f"{url} must name {HOST}: another name may be an IPv6 address, where nobody listens")
    return url
