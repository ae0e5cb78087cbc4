"""The metrics of a controller, all of them in one registry."""

from dataclasses import dataclass
from importlib.metadata import version

from prometheus_client import CollectorRegistry

from kubernaut.kube.metrics import KubeMetrics
from kubernaut.ops.metrics import new_registry
from kubernaut.signalprocessing.metrics import DecisionMetrics, PolicyMetrics, ProcessingMetrics, ShadowMetrics
from kubernaut.signalprocessing.retention import RetentionMetrics
from kubernaut.signalprocessing.sinks.metrics import SinkMetrics


@dataclass(frozen=True, kw_only=True)
class ControllerMetrics:
    """What a controller counts, besides its audit store and its HTTP server."""

    registry: CollectorRegistry
    kube: KubeMetrics
    policy: PolicyMetrics
    processing: ProcessingMetrics
    decisions: DecisionMetrics
    retention: RetentionMetrics
    shadow: ShadowMetrics
    sinks: SinkMetrics


def new_metrics() -> ControllerMetrics:
    """Fresh ones, in a registry of their own."""
    registry = new_registry("signalprocessing", version("kubernaut-signalprocessing"))
    return ControllerMetrics(
        registry=registry,
        kube=KubeMetrics(registry),
        policy=PolicyMetrics(registry),
        processing=ProcessingMetrics(registry),
        decisions=DecisionMetrics(registry),
        retention=RetentionMetrics(registry),
        shadow=ShadowMetrics(registry),
        sinks=SinkMetrics(registry),
    )
