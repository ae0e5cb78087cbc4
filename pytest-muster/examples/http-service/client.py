"""How the tests talk to the service."""

import json
from urllib.request import Request, urlopen


def call(method, url, body=None):
    """What the service answers; raises `HTTPError` if it refuses."""
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data=data, method=method), timeout=5) as answer:
        return json.load(answer)
