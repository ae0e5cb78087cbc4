"""Merge patches, JSON patches, strategic merge patches."""

from .widgets import a_widget


def a_pod(*names):
    return {
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": name, "image": "i", "env": [{"name": "A", "value": "1"}]} for name in names]},
    }


def test_merge_patch_sets_and_removes(api, configmaps):
    api.post(configmaps, {"metadata": {"name": "a"}, "data": {"x": "1", "y": "2"}})

    patched = api.patch(f"{configmaps}/a", {"data": {"x": None, "z": "3"}})

    assert patched.status_code == 200
    assert patched.json()["data"] == {"y": "2", "z": "3"}


def test_merge_patch_replaces_lists(api, widgets, group):
    api.post(widgets, a_widget(group, tags=["a", "b"]))

    assert api.patch(f"{widgets}/w", {"spec": {"tags": ["c"]}}).json()["spec"]["tags"] == ["c"]


def test_patch_with_a_stale_version_is_a_conflict(api, configmaps):
    old = api.post(configmaps, {"metadata": {"name": "a"}}).json()
    api.patch(f"{configmaps}/a", {"data": {"x": "1"}})
    stale = {"resourceVersion": old["metadata"]["resourceVersion"]}

    refused = api.patch(f"{configmaps}/a", {"metadata": stale, "data": {"x": "2"}})

    assert (refused.status_code, refused.json()["reason"]) == (409, "Conflict")


def test_patch_of_another_uid_is_invalid(api, configmaps):
    api.post(configmaps, {"metadata": {"name": "a"}})

    refused = api.patch(f"{configmaps}/a", {"metadata": {"uid": "x"}})

    assert refused.status_code == 422
    assert refused.json()["details"]["causes"][0]["field"] == "metadata.uid"


def test_patch_cannot_rename(api, configmaps):
    api.post(configmaps, {"metadata": {"name": "a"}})

    assert api.patch(f"{configmaps}/a", {"metadata": {"name": "b"}}).status_code == 400


def test_patch_of_a_missing_object_is_not_found(api, configmaps):
    assert api.patch(f"{configmaps}/a", {}).status_code == 404


def test_json_patch_runs_its_operations(api, configmaps):
    api.post(configmaps, {"metadata": {"name": "a"}, "data": {"x": "1"}})
    operations = [
        {"op": "test", "path": "/data/x", "value": "1"},
        {"op": "add", "path": "/data/y", "value": "2"},
        {"op": "remove", "path": "/data/x"},
        {"op": "add", "path": "/metadata/labels", "value": {"a~b": "c"}},
        {"op": "move", "from": "/metadata/labels/a~0b", "path": "/metadata/labels/d"},
    ]

    patched = api.patch(f"{configmaps}/a", operations, "json-patch+json")

    assert patched.json()["data"] == {"y": "2"}
    assert patched.json()["metadata"]["labels"] == {"d": "c"}


def test_failed_test_of_a_json_patch_changes_nothing(api, configmaps):
    api.post(configmaps, {"metadata": {"name": "a"}, "data": {"x": "1"}})
    operations = [
        {"op": "add", "path": "/data/y", "value": "2"},
        {"op": "test", "path": "/data/x", "value": "other"},
    ]

    refused = api.patch(f"{configmaps}/a", operations, "json-patch+json")

    assert (refused.status_code, refused.json()["reason"]) == (422, "Invalid")
    assert api.get(f"{configmaps}/a").json()["data"] == {"x": "1"}


def test_json_patch_of_a_missing_place_is_invalid(api, configmaps):
    api.post(configmaps, {"metadata": {"name": "a"}})

    refused = api.patch(f"{configmaps}/a", [{"op": "remove", "path": "/data/x"}], "json-patch+json")

    assert refused.status_code == 422


def test_strategic_patch_merges_lists_by_key(api, namespace):
    path = f"/api/v1/namespaces/{namespace}/pods"
    api.post(path, a_pod("one", "two"))
    patch = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "two", "image": "new"}]},
    }

    patched = api.patch(f"{path}/p", patch, "strategic-merge-patch+json").json()

    assert [(c["name"], c["image"]) for c in patched["spec"]["containers"]] == [("one", "i"), ("two", "new")]
    assert patched["spec"]["containers"][1]["env"] == [{"name": "A", "value": "1"}]
    assert patched["metadata"]["labels"] == {"a": "b"}


def test_strategic_patch_deletes_by_key(api, namespace):
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    labels = {"app": "a"}
    template = {"metadata": {"labels": labels}, "spec": a_pod("one", "two")["spec"]}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    api.post(path, {"metadata": {"name": "d"}, "spec": spec})
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "one", "$patch": "delete"}]}}}}

    patched = api.patch(f"{path}/d", patch, "strategic-merge-patch+json").json()

    assert [c["name"] for c in patched["spec"]["template"]["spec"]["containers"]] == ["two"]


def test_strategic_patch_is_not_for_custom_objects(api, widgets, group):
    api.post(widgets, a_widget(group))

    refused = api.patch(f"{widgets}/w", {}, "strategic-merge-patch+json")

    assert (refused.status_code, refused.json()["reason"]) == (415, "UnsupportedMediaType")


def test_unknown_patch_is_refused(api, configmaps):
    api.post(configmaps, {"metadata": {"name": "a"}})

    assert api.patch(f"{configmaps}/a", {}, "json").status_code == 415


def test_broken_patch_is_a_bad_request(api, configmaps):
    api.post(configmaps, {"metadata": {"name": "a"}})
    headers = {"Content-Type": "application/merge-patch+json"}

    assert api.client.patch(f"{configmaps}/a", content="{", headers=headers).status_code == 400


def test_dry_patch_changes_nothing(api, configmaps):
    api.post(configmaps, {"metadata": {"name": "a"}})

    assert api.patch(f"{configmaps}/a", {"data": {"x": "y"}}, dryRun="All").json()["data"] == {"x": "y"}
    assert "data" not in api.get(f"{configmaps}/a").json()
