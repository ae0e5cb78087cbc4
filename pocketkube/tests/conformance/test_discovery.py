"""Discovery, OpenAPI and tables: what clients ask before they ask for anything."""

import pytest

from .widgets import a_widget

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def test_version_is_told(api):
    assert api.get("/version").json()["major"] == "1"


def test_core_group_has_version_1(api):
    assert api.get("/api").json()["versions"] == ["v1"]


def test_groups_are_listed(api, group):
    groups = {entry["name"]: entry for entry in api.get("/apis").json()["groups"]}

    assert {"apps", "batch", "coordination.k8s.io", "events.k8s.io", "apiextensions.k8s.io", group} <= set(groups)
    assert groups[group]["preferredVersion"] == {"groupVersion": f"{group}/v1", "version": "v1"}


def test_one_group_is_told(api, group):
    assert api.get(f"/apis/{group}").json()["name"] == group


@pytest.mark.parametrize(
    ("version", "plural", "kind", "namespaced"),
    [
        ("/api/v1", "pods", "Pod", True),
        ("/api/v1", "nodes", "Node", False),
        ("/api/v1", "persistentvolumeclaims", "PersistentVolumeClaim", True),
        ("/apis/apps/v1", "deployments", "Deployment", True),
        ("/apis/apps/v1", "statefulsets", "StatefulSet", True),
        ("/apis/batch/v1", "jobs", "Job", True),
        ("/apis/coordination.k8s.io/v1", "leases", "Lease", True),
        ("/apis/networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", True),
        ("/apis/networking.k8s.io/v1", "ingresses", "Ingress", True),
    ],
)
def test_resources_are_listed(api, version, plural, kind, namespaced):
    resources = {entry["name"]: entry for entry in api.get(version).json()["resources"]}

    assert (resources[plural]["kind"], resources[plural]["namespaced"]) == (kind, namespaced)
    assert set(resources[plural]["verbs"]) >= {"create", "delete", "get", "list", "patch", "update", "watch"}


@pytest.mark.parametrize(
    ("version", "plural"),
    [
        ("/apis/policy/v1", "poddisruptionbudgets"),
        ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
        ("/apis/batch/v1", "cronjobs"),
    ],
)
def test_newer_resources_are_listed(api, version, plural):
    assert plural in [entry["name"] for entry in api.get(version).json()["resources"]]


def test_custom_resource_is_listed(api, group):
    resources = {entry["name"]: entry for entry in api.get(f"/apis/{group}/v1").json()["resources"]}

    assert resources["widgets"]["singularName"] == "widget"
    assert resources["widgets"]["categories"] == ["gadgets"]
    assert resources["widgets"]["shortNames"]
    assert set(resources["widgets/status"]["verbs"]) == {"get", "patch", "update"}


@pytest.mark.parametrize(("path", "group", "plural"), [("/api", "", "pods"), ("/apis", "apps", "deployments")])
def test_discovery_in_one_document(api, path, group, plural):
    answer = api.client.get(path, headers={"Accept": AGGREGATED})

    assert answer.headers["content-type"] == AGGREGATED
    entry = next(item for item in answer.json()["items"] if item["metadata"].get("name", "") == group)
    resources = {resource["resource"]: resource for resource in entry["versions"][0]["resources"]}
    assert resources[plural]["scope"] == "Namespaced"
    assert [s["subresource"] for s in resources[plural]["subresources"]].count("status") == 1


def test_openapi_version_3_describes_kinds(api):
    index = api.get("/openapi/v3").json()["paths"]

    document = api.client.get(index["apis/apps/v1"]["serverRelativeURL"]).json()
    assert document["openapi"].startswith("3.0")
    patch = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "kind": "Deployment", "version": "v1"}
    assert "io.k8s.api.apps.v1.DeploymentSpec" in document["components"]["schemas"]


def test_openapi_version_3_describes_custom_kinds(api, group):
    path = api.get("/openapi/v3").json()["paths"][f"apis/{group}/v1"]["serverRelativeURL"]

    schemas = api.client.get(path).json()["components"]["schemas"]
    widget = next(schema for name, schema in schemas.items() if name.endswith(".v1.Widget"))
    assert widget["properties"]["spec"]["properties"]["color"]["enum"] == ["red", "blue"]
    assert widget["x-kubernetes-group-version-kind"][0]["kind"] == "Widget"


def test_openapi_version_2_describes_kinds(api):
    assert "io.k8s.api.core.v1.Pod" in api.get("/openapi/v2").json()["definitions"]


def test_table_shows_the_columns_of_a_custom_resource(api, widgets, group):
    api.post(widgets, a_widget(group, count=3))
    api.patch(f"{widgets}/w/status", {"status": {"phase": "Done", "conditions": [{"type": "Ready", "status": "True"}]}})

    table = api.client.get(widgets, headers={"Accept": TABLE}).json()

    assert table["kind"] == "Table"
    names = [column["name"] for column in table["columnDefinitions"]]
    assert names == ["Name", "Color", "Phase", "Ready", "Age", "Count"]
    cells = table["rows"][0]["cells"]
    assert cells[:4] == ["w", "red", "Done", "True"]
    assert cells[5] == 3
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    assert table["columnDefinitions"][5]["priority"] == 1


def test_table_of_one_object(api, widgets, group):
    api.post(widgets, a_widget(group))

    table = api.client.get(f"{widgets}/w", headers={"Accept": TABLE}, params={"includeObject": "Object"}).json()

    assert table["rows"][0]["cells"][0] == "w"
    assert table["rows"][0]["object"]["spec"]["name"] == "ok"


def test_table_leaves_missing_values_empty(api, widgets, group):
    api.post(widgets, a_widget(group))

    table = api.client.get(widgets, headers={"Accept": TABLE}).json()

    assert table["rows"][0]["cells"][2] is None


def test_list_falls_back_to_json(api, widgets):
    answer = api.client.get(widgets, headers={"Accept": "application/vnd.kubernetes.protobuf,application/json"})

    assert answer.json()["kind"] == "WidgetList"
