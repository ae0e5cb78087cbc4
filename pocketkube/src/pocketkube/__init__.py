"""A Kubernetes API server in one process: enough of the real protocol for kubectl and controllers.

A request goes `server` → `http.app` (authentication, routing, errors) → `operations.reader` or `operations.writer`.
The writer decides what the new object is (metadata, schema, patches, managed fields); `storage.store` gives it a
resourceVersion, `storage.persistence` puts it on disk, and only then the client is answered and watches see it.
Everything is decided on one event loop without awaiting, so that no write can come between a comparison and its
consequence; the only wait of a write is for the disk.
`operations.garbage_collector` does what controllers of a real cluster do: it ends namespaces and collects orphans.
"""
