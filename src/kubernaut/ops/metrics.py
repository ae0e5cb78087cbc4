"""The metrics that this process exposes."""

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Gauge,
    GCCollector,
    PlatformCollector,
    generate_latest,
)
from prometheus_client import ProcessCollector as _Process

CONTENT_TYPE = CONTENT_TYPE_LATEST


def new_registry(service: str, version: str) -> CollectorRegistry:
    """A registry with the process's own figures and `kubernaut_build_info`; each service makes one at its start."""
    registry = CollectorRegistry()
    _Process(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    info = Gauge("kubernaut_build_info", "Version of the running service.", ["service", "version"], registry=registry)
    info.labels(service, version).set(1)
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """What `/metrics` answers."""
    return generate_latest(registry)
