"""Addresses without the login that they may carry: for logs, messages and whatever else people read."""

import re

HIDDEN = "***"

# Up to the last @ of the authority: a password may hold one that nobody escaped.
_LOGIN = re.compile(r"(?<=://)[^\s/?#]*@")


def without_login(text: str) -> str:
    """The text with `***` in place of user and password of every URL in it."""
    return _LOGIN.sub(f"{HIDDEN}@", text) if "://" in text else text
