"""The scale subresource."""

from typing import Any

import pytest

from .eventually import eventually
from .widgets import SCHEMA, a_definition

DEPLOYMENT: dict[str, Any] = {
    "metadata": {"name": "a"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "a"}},
        "template": {
            "metadata": {"labels": {"app": "a"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        },
    },
}


@pytest.fixture
def deployment(api, namespace) -> str:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    made = api.post(path, DEPLOYMENT)
    assert made.status_code == 201, made.text
    return f"{path}/a"


def test_scale_is_read(api, deployment):
    scale = api.get(f"{deployment}/scale").json()

    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert scale["spec"] == {"replicas": 2}
    assert scale["status"] == {"replicas": 0, "selector": "app=a"}


@pytest.mark.parametrize("kind", ["merge-patch+json", "strategic-merge-patch+json"])
def test_scale_is_patched(api, deployment, kind):
    scaled = api.patch(f"{deployment}/scale", {"spec": {"replicas": 5}}, kind)

    assert (scaled.status_code, scaled.json()["spec"]) == (200, {"replicas": 5})
    found = api.get(deployment).json()
    assert found["spec"]["replicas"] == 5
    assert found["metadata"]["generation"] == 2


def test_scale_is_replaced(api, deployment):
    scale = api.get(f"{deployment}/scale").json()
    scale["spec"]["replicas"] = 0

    scaled = api.put(f"{deployment}/scale", scale)
    stale = api.put(f"{deployment}/scale", scale)

    assert scaled.status_code == 200
    assert api.get(deployment).json()["spec"]["replicas"] == 0
    assert (stale.status_code, stale.json()["reason"]) == (409, "Conflict")


def test_negative_scale_is_invalid(api, deployment):
    refused = api.patch(f"{deployment}/scale", {"spec": {"replicas": -1}})

    assert (refused.status_code, refused.json()["reason"]) == (422, "Invalid")


def test_daemon_set_has_no_scale(api, namespace):
    assert api.get(f"/apis/apps/v1/namespaces/{namespace}/daemonsets/a/scale").status_code == 404


async def test_custom_scale_is_where_the_definition_says(api, namespace, unique):
    group = f"{unique}.test"
    paths = {"specReplicasPath": ".spec.count", "statusReplicasPath": ".status.seen"}
    definition = a_definition(group, subresources={"status": {}, "scale": paths}, schema={"openAPIV3Schema": SCHEMA})
    api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
    path = f"/apis/{group}/v1/namespaces/{namespace}/widgets"
    await eventually(lambda: api.get(path).status_code == 200)
    widget = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"name": "ok"}}
    api.post(path, widget)

    scaled = api.patch(f"{path}/w/scale", {"spec": {"replicas": 4}})

    assert scaled.json()["spec"] == {"replicas": 4}
    assert api.get(f"{path}/w").json()["spec"]["count"] == 4
    api.delete(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{group}")


def test_scale_is_discovered(api):
    resources = {resource["name"]: resource for resource in api.get("/apis/apps/v1").json()["resources"]}

    assert resources["deployments/scale"]["kind"] == "Scale"
    assert (resources["deployments/scale"]["group"], resources["deployments/scale"]["version"]) == ("autoscaling", "v1")
