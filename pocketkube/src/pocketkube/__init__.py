"""A Kubernetes API server in one process: enough of the real protocol for kubectl and controllers.

A request goes `server` → `http.app` (authentication, routing, errors) → `operations.reader` or `operations.writer`.
The writer decides what the new object is (metadata, schema, patches, managed fields); `storage.store` gives it a
resourceVersion, `storage.persistence` puts it on disk, and only then the client is answered and watches see it.
Everything is decided on one event loop without awaiting, so that no write can come between a comparison and its
consequence; the only wait of a write is for the disk.
`operations.garbage_collector` does what controllers of a real cluster do: it ends namespaces and collects orphans.
"""

from typing import TYPE_CHECKING, Any

from pocketkube.api_server import ApiServer, DirectoryInUse, StartError
from pocketkube.child import running_api_server

if TYPE_CHECKING:
    from pocketkube.server import open_api_server

__all__ = ["ApiServer", "DirectoryInUse", "StartError", "open_api_server", "running_api_server"]


def __getattr__(name: str) -> Any:
    if name == "open_api_server":
        # Imported when asked for: pytest imports this package at the start of every run, for its plugin, and the server
        # takes 0.3 s to import.
        from pocketkube.server import open_api_server

        return open_api_server
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
