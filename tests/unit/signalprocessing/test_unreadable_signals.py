"""A signal that does not decode, as a CRD of somebody else may let one in, is reported on the object itself."""

from typing import Any

from prometheus_client import CollectorRegistry

from kubernaut.api.meta import ObjectMeta
from kubernaut.kube.metrics import KubeMetrics
from kubernaut.kube.objects import PartialObjectMetadata
from kubernaut.kube.wire import ListPage, decode_items, decode_page
from kubernaut.signalprocessing.kinds import POD, SIGNAL
from kubernaut.signalprocessing.service import report_with

LISTING = b"""{"metadata": {}, "items": [{
  "metadata": {"name": "sp-1", "namespace": "home", "uid": "u-1", "resourceVersion": "7"},
  "status": {"startTime": "0000-01-01T00:00:00Z"}}]}"""


class FakeRecorder:
    def __init__(self) -> None:
        self.recorded: list[tuple[ObjectMeta, str, str]] = []

    def record(self, kind: Any, obj: PartialObjectMetadata, reason: str, message: str, *, warning: bool) -> None:
        assert warning
        self.recorded.append((obj.metadata, reason, message))


def page() -> ListPage:
    return decode_page(LISTING)


def test_signal_that_does_not_decode_gets_a_warning_and_is_counted():
    recorder, registry = FakeRecorder(), CollectorRegistry()
    report = report_with(recorder, KubeMetrics(registry))

    assert decode_items(SIGNAL, page(), report) == []
    decode_items(POD, decode_page(LISTING.replace(b'"home"', b'"home", "labels": 3')), report)

    assert [(obj.name, obj.uid, reason) for obj, reason, _ in recorder.recorded] == [
        ("sp-1", "u-1", "SignalUnreadable")
    ]
    assert "Correct or delete it" in recorder.recorded[0][2]
    name = "kubernaut_kubernetes_objects_undecodable_total"
    assert registry.get_sample_value(name, {"kind": str(SIGNAL)}) == 1
    assert registry.get_sample_value(name, {"kind": "pods"}) == 1
