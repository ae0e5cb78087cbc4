"""A Kubernetes API server in one process: enough of the real protocol for kubectl and controllers.

A request goes `server` → `app` (authentication, routing, errors) → `reading` or `writing`.
`writing` decides what the new object is (metadata, schema, patches, ownership); `store` gives it a
resourceVersion, `journal` puts it on disk, and only then the caller is answered and watches see it.
Everything is decided on one event loop without awaiting, so that no write can slip between a
comparison and its consequence; the only wait of a write is for the disk.
`cleanup` does what controllers of a real cluster do: ends namespaces and collects orphans.
"""
