"""Create, read, update, delete: one object at a time."""

from typing import Any

import pytest

from .widgets import a_widget


def a_map(name: str = "a", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def reason(response: Any) -> tuple[int, str]:
    return response.status_code, response.json().get("reason", "")


def test_created_object_has_identity(api, configmaps, namespace):
    made = api.post(configmaps, a_map(x="y"))

    assert made.status_code == 201
    metadata = made.json()["metadata"]
    assert metadata["namespace"] == namespace
    assert len(metadata["uid"]) == 36
    assert metadata["creationTimestamp"].endswith("Z")
    assert int(metadata["resourceVersion"]) > 0
    assert api.get(f"{configmaps}/a").json() == made.json()


def test_second_create_is_refused(api, configmaps):
    api.post(configmaps, a_map())

    again = api.post(configmaps, a_map())

    assert reason(again) == (409, "AlreadyExists")
    assert again.json()["details"] == {"name": "a", "kind": "configmaps"}
    assert again.json()["message"] == 'configmaps "a" already exists'


def test_missing_object_is_not_found(api, configmaps):
    missing = api.get(f"{configmaps}/nope")

    assert reason(missing) == (404, "NotFound")
    assert missing.json()["details"] == {"name": "nope", "kind": "configmaps"}


def test_missing_custom_object_names_its_group(api, widgets, group):
    missing = api.get(f"{widgets}/nope")

    assert missing.json()["message"] == f'widgets.{group} "nope" not found'
    assert missing.json()["details"] == {"name": "nope", "group": group, "kind": "widgets"}


def test_generated_names_differ(api, configmaps):
    names = {api.post(configmaps, {"metadata": {"generateName": "gen-"}}).json()["metadata"]["name"] for _ in range(5)}

    assert len(names) == 5
    assert all(name.startswith("gen-") and len(name) == 9 for name in names)


@pytest.mark.parametrize("name", ["A", "a_b", "-a", "a.", "x" * 254])
def test_bad_name_is_invalid(api, widgets, group, name):
    refused = api.post(widgets, a_widget(group, name))

    assert reason(refused) == (422, "Invalid")
    assert refused.json()["details"]["causes"][0]["field"] == "metadata.name"


def test_name_of_built_in_kind_is_checked(api, configmaps):
    assert reason(api.post(configmaps, a_map("A_"))) == (422, "Invalid")


def test_missing_name_is_invalid(api, configmaps):
    refused = api.post(configmaps, {"metadata": {}})

    assert reason(refused) == (422, "Invalid")
    assert refused.json()["details"]["causes"] == [
        {
            "reason": "FieldValueRequired",
            "message": "Required value: name or generateName is required",
            "field": "metadata.name",
        }
    ]


def test_bad_label_is_invalid(api, widgets, group):
    widget = a_widget(group)
    widget["metadata"]["labels"] = {"a b": "c d!"}

    refused = api.post(widgets, widget)

    assert [cause["field"] for cause in refused.json()["details"]["causes"]] == ["metadata.labels"] * 2


def test_other_kind_is_refused(api, configmaps):
    assert reason(api.post(configmaps, {**a_map(), "kind": "Pod"})) == (400, "BadRequest")


def test_other_namespace_is_refused(api, configmaps):
    refused = api.post(configmaps, {"metadata": {"name": "a", "namespace": "other"}})

    assert reason(refused) == (400, "BadRequest")
    assert "does not match the namespace" in refused.json()["message"]


def test_namespace_must_exist(api):
    refused = api.post("/api/v1/namespaces/nope/configmaps", a_map())

    assert reason(refused) == (404, "NotFound")
    assert refused.json()["message"] == 'namespaces "nope" not found'


@pytest.mark.parametrize("body", ['{"metadata":', "[]", '"x"', "{'a':1}"])
def test_broken_body_is_a_bad_request(api, configmaps, body):
    refused = api.client.post(configmaps, content=body, headers={"Content-Type": "application/json"})

    assert reason(refused) == (400, "BadRequest")


def test_wrong_type_is_a_bad_request(api, configmaps):
    refused = api.post(configmaps, {"metadata": {"name": "a"}, "data": {"a": 5}})

    assert reason(refused) == (400, "BadRequest")
    assert 'ConfigMap in version "v1" cannot be handled as a ConfigMap' in refused.json()["message"]


def test_yaml_body_is_read(api, configmaps):
    body = "metadata:\n  name: a\ndata:\n  x: 'y'\n"

    made = api.client.post(configmaps, content=body, headers={"Content-Type": "application/yaml"})

    assert made.json()["data"] == {"x": "y"}


def test_unknown_media_type_is_refused(api, configmaps):
    refused = api.client.post(configmaps, content="x", headers={"Content-Type": "text/plain"})

    assert reason(refused) == (415, "UnsupportedMediaType")


def test_update_moves_the_version(api, configmaps):
    old = api.post(configmaps, a_map(x="1")).json()

    new = api.put(f"{configmaps}/a", a_map(x="2")).json()

    assert new["data"] == {"x": "2"}
    assert int(new["metadata"]["resourceVersion"]) > int(old["metadata"]["resourceVersion"])
    assert new["metadata"]["uid"] == old["metadata"]["uid"]
    assert new["metadata"]["creationTimestamp"] == old["metadata"]["creationTimestamp"]


def test_stale_update_is_a_conflict(api, configmaps):
    old = api.post(configmaps, a_map(x="1")).json()
    api.put(f"{configmaps}/a", a_map(x="2"))

    refused = api.put(f"{configmaps}/a", {**old, "data": {"x": "3"}})

    assert reason(refused) == (409, "Conflict")
    assert refused.json()["message"] == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified;'
        " please apply your changes to the latest version and try again"
    )
    assert api.get(f"{configmaps}/a").json()["data"] == {"x": "2"}


def test_update_of_another_uid_is_a_conflict(api, configmaps):
    api.post(configmaps, a_map())

    refused = api.put(f"{configmaps}/a", {"metadata": {"name": "a", "uid": "other"}})

    assert reason(refused) == (409, "Conflict")


def test_update_that_changes_nothing_keeps_the_version(api, configmaps):
    old = api.post(configmaps, a_map(x="1")).json()

    new = api.put(f"{configmaps}/a", old).json()

    assert new["metadata"]["resourceVersion"] == old["metadata"]["resourceVersion"]


def test_update_of_a_missing_object_is_not_found(api, configmaps):
    assert reason(api.put(f"{configmaps}/a", a_map())) == (404, "NotFound")


def test_update_under_another_name_is_refused(api, configmaps):
    api.post(configmaps, a_map())

    assert reason(api.put(f"{configmaps}/a", a_map("b"))) == (400, "BadRequest")


def test_dry_run_changes_nothing(api, configmaps):
    made = api.post(configmaps, a_map(x="1"), dryRun="All")

    assert made.status_code == 201
    assert made.json()["data"] == {"x": "1"}
    assert api.get(f"{configmaps}/a").status_code == 404


def test_unknown_dry_run_is_invalid(api, configmaps):
    refused = api.post(configmaps, a_map(), dryRun="Some")

    assert reason(refused) == (422, "Invalid")
    assert refused.json()["details"]["kind"] == "CreateOptions"


def test_unknown_path_is_not_found(api, namespace):
    assert api.get("/apis/apps/v7/deployments").status_code == 404
    assert api.get("/api/v1/nopes").status_code == 404
    assert api.get("/apis/nope.test/v1/things").status_code == 404


def test_wrong_method_is_not_allowed(api, configmaps):
    assert reason(api.put(configmaps, a_map())) == (405, "MethodNotAllowed")
    assert reason(api.post("/api/v1/configmaps", a_map())) == (405, "MethodNotAllowed")


def test_no_token_no_answer(server, configmaps):
    with server.client(Authorization="Bearer wrong") as stranger:
        refused = stranger.get(configmaps)

    assert reason(refused) == (401, "Unauthorized")


def test_health_is_told(api):
    for path in ("/healthz", "/readyz", "/livez"):
        assert api.get(path).text == "ok"


def test_secret_text_becomes_data(api, namespace):
    path = f"/api/v1/namespaces/{namespace}/secrets"

    made = api.post(path, {"metadata": {"name": "s"}, "stringData": {"a": "b"}}).json()

    assert made["data"] == {"a": "Yg=="}
    assert made["type"] == "Opaque"
    assert "stringData" not in made


def test_new_pod_is_pending(api, namespace):
    spec = {"containers": [{"name": "c", "image": "i"}]}

    made = api.post(
        f"/api/v1/namespaces/{namespace}/pods",
        {"metadata": {"name": "p"}, "spec": spec, "status": {"phase": "Running"}},
    )

    assert made.json()["status"]["phase"] == "Pending"


def test_pod_needs_containers(api, namespace):
    refused = api.post(f"/api/v1/namespaces/{namespace}/pods", {"metadata": {"name": "p"}, "spec": {}})

    assert reason(refused) == (422, "Invalid")
    assert refused.json()["details"]["causes"][0]["field"] == "spec.containers"


def test_status_of_a_built_in_kind_is_separate(api, namespace):
    path = f"/api/v1/namespaces/{namespace}/pods"
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    api.post(path, pod)

    api.patch(f"{path}/p/status", {"status": {"phase": "Running"}, "spec": {"nodeName": "n"}})
    api.patch(f"{path}/p", {"status": {"phase": "Failed"}, "metadata": {"labels": {"a": "b"}}})

    stored = api.get(f"{path}/p").json()
    assert stored["status"]["phase"] == "Running"
    assert "nodeName" not in stored["spec"]
    assert stored["metadata"]["labels"] == {"a": "b"}


def test_both_event_apis_show_the_same(api, namespace):
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": namespace},
        "reason": "Because",
        "message": "it is so",
        "type": "Normal",
    }
    api.post(f"/api/v1/namespaces/{namespace}/events", event)

    seen = api.get(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events/e").json()

    assert seen["apiVersion"] == "events.k8s.io/v1"
    assert (seen["note"], seen["regarding"]["name"], seen["reason"]) == ("it is so", "p", "Because")
