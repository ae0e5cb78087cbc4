"""The kubeconfig: where the server is, and the token that it wants.

client-go, and with it kubectl and helm, sends no token over plain HTTP, and aiohttp refuses credentials in an address.
What every client sends is the path, so the address of the kubeconfig carries the token there.
"""

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

USER = "pocketkube"


def path_prefix(token: str) -> str:
    """Return the beginning of a path that proves knowledge of the token."""
    return f"/token/{quote(token, safe='')}"


def client_config(url: str, token: str) -> dict[str, Any]:
    """Return the content of a kubeconfig."""
    name = USER
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": url + path_prefix(token)}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
        "current-context": name,
    }


def write_kubeconfig(path: Path, url: str, token: str) -> None:
    """Write the file, readable by its owner only; a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    # JSON is YAML, and needs no import to write.
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(client_config(url, token), file, indent=2)
        file.write("\n")
    beside.replace(path)
