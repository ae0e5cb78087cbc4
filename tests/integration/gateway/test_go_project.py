"""Beside the Go project: its `RemediationRequest` takes our requests, and ours keeps what its programs write."""

from typing import Any

import pytest

from kubernaut.api.crds import remediation_request_crd, signal_processing_crd
from kubernaut.gateway.requests import REQUESTS
from kubernaut.kube.client import ClientConfig, open_client
from kubernaut.kube.crds import ensure_crds
from kubernaut.kube.objects import Unstructured, key_of
from support.alerts import an_alert, over

from .conftest import open_cluster, open_gateway
from .test_outage import open_api

pytestmark = pytest.mark.kubernetes

TIME = {"type": "string", "format": "date-time"}
TEXT = {"type": "string"}


def an_object(required: list[str], **properties: Any) -> Unstructured:
    return {"type": "object", "required": required, "properties": properties}


def go_remediation_request_crd() -> Unstructured:
    """Required is what the Go project's controllers need; it has no field of ours in its status."""
    manifest = remediation_request_crd()
    (version,) = manifest["spec"]["versions"]
    version["schema"]["openAPIV3Schema"]["properties"] |= {
        "spec": an_object(
            [
                *("signalFingerprint", "signalName", "severity", "signalType", "targetType", "targetResource"),
                *("firingTime", "receivedTime"),
            ],
            signalFingerprint={"type": "string", "pattern": "^[a-f0-9]{64}$", "maxLength": 64},
            signalName={"type": "string", "maxLength": 253},
            severity={"type": "string", "minLength": 1},
            signalType=TEXT,
            signalSource=TEXT,
            targetType={"type": "string", "enum": ["kubernetes", "aws", "azure", "gcp", "datadog"]},
            targetResource=an_object(["kind", "name"], kind=TEXT, name=TEXT, namespace=TEXT),
            firingTime=TIME,
            receivedTime=TIME,
        ),
        "status": an_object(
            [],
            overallPhase=TEXT,
            deduplication=an_object([], occurrenceCount={"type": "integer"}, firstSeenAt=TIME, lastSeenAt=TIME),
        ),
    }
    return manifest


async def test_every_alert_is_stored_with_the_go_projects_crd(tmp_path, store):
    data = tmp_path / "kubernetes"
    async with open_api(data):
        async with open_client(ClientConfig(kubeconfig=data / "kubeconfig")) as client:
            await ensure_crds(client, [go_remediation_request_crd(), signal_processing_crd()])
        async with (
            open_cluster(data / "kubeconfig") as cluster,
            open_gateway(cluster, store.url, tmp_path / "spool") as gateway,
        ):
            known = an_alert("Known", namespace=cluster.shop, pod="cart-1")
            timeless = an_alert("Timeless", namespace=cluster.shop, pod="cart-2") | {"startsAt": None}
            del timeless["labels"]["severity"]

            answers = [await gateway.post(alert) for alert in (known, timeless, known, over(known), known)]

            assert [answer.status_code for answer in answers] == [201, 201, 202, 200, 202]
            assert len(await cluster.signals()) == 2
            assert {request.spec.severity for request in await cluster.requests()} == {"critical", "unknown"}


async def test_our_crd_keeps_what_a_parent_of_the_go_project_writes(cluster):
    spec = {"signalName": "A", "providerData": {"x": 1}, "storm": {"isStorm": True}}
    status = {"overallPhase": "Executing", "childRefs": [{"name": "we-1"}], "deduplication": {"isDuplicate": False}}
    kind = REQUESTS.with_type(dict)
    created = await cluster.client.create(
        kind, {"metadata": {"name": "rr-go", "namespace": cluster.home}, "spec": spec}
    )

    written = await cluster.client.patch(kind, key_of(created), {"status": status}, subresource="status")

    assert written["spec"] == spec
    assert written["status"] == status
