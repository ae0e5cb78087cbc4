"""Server-side apply: who owns which field."""

import pytest

from .widgets import a_widget


def owners(response):
    entries = response.json()["metadata"]["managedFields"]
    return {(entry["manager"], entry["operation"]): entry["fieldsV1"] for entry in entries}


def test_apply_creates(api, widgets, group):
    made = api.apply(f"{widgets}/w", a_widget(group, count=1), "one")

    assert made.status_code == 201
    assert made.json()["spec"]["count"] == 1
    assert owners(made) == {("one", "Apply"): {"f:spec": {"f:count": {}, "f:name": {}}}}


def test_apply_again_changes_nothing(api, widgets, group):
    first = api.apply(f"{widgets}/w", a_widget(group), "one").json()

    second = api.apply(f"{widgets}/w", a_widget(group), "one")

    assert second.status_code == 200
    assert second.json() == first


def test_what_a_manager_no_longer_states_goes(api, widgets, group):
    api.apply(f"{widgets}/w", a_widget(group, count=1, map={"a": "1", "b": "2"}), "one")

    left = api.apply(f"{widgets}/w", a_widget(group, map={"a": "1"}), "one").json()["spec"]

    assert "count" not in left
    assert left["map"] == {"a": "1"}


def test_two_managers_share_an_object(api, widgets, group):
    api.apply(f"{widgets}/w", a_widget(group, count=1), "one")
    part = a_widget(group)
    part["spec"] = {"flag": True}

    both = api.apply(f"{widgets}/w", part, "two")

    assert (both.json()["spec"]["count"], both.json()["spec"]["flag"]) == (1, True)
    assert owners(both)["two", "Apply"] == {"f:spec": {"f:flag": {}}}


def test_other_value_is_a_conflict(api, widgets, group):
    api.apply(f"{widgets}/w", a_widget(group, count=1), "one")

    refused = api.apply(f"{widgets}/w", a_widget(group, count=2), "two")

    assert (refused.status_code, refused.json()["reason"]) == (409, "Conflict")
    assert refused.json()["message"] == 'Apply failed with 1 conflict: conflict with "one": .spec.count'
    assert refused.json()["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".spec.count"}
    ]


def test_same_value_is_shared(api, widgets, group):
    api.apply(f"{widgets}/w", a_widget(group, count=1), "one")

    both = api.apply(f"{widgets}/w", a_widget(group, count=1), "two")
    api.apply(f"{widgets}/w", a_widget(group), "one")

    assert both.status_code == 200
    assert api.get(f"{widgets}/w").json()["spec"]["count"] == 1


def test_force_takes_a_field(api, widgets, group):
    api.apply(f"{widgets}/w", a_widget(group, count=1), "one")

    forced = api.apply(f"{widgets}/w", a_widget(group, count=2), "two", force="true")

    assert forced.json()["spec"]["count"] == 2
    assert owners(forced)["one", "Apply"] == {"f:spec": {"f:name": {}}}
    assert owners(forced)["two", "Apply"] == {"f:spec": {"f:count": {}, "f:name": {}}}


def test_update_takes_fields_from_an_applier(api, widgets, group):
    api.apply(f"{widgets}/w", a_widget(group, count=1), "one")

    changed = api.patch(f"{widgets}/w", {"spec": {"count": 2}}, fieldManager="editor")

    assert owners(changed)["one", "Apply"] == {"f:spec": {"f:name": {}}}
    assert owners(changed)["editor", "Update"] == {"f:spec": {"f:count": {}}}


def test_conflict_with_an_editor_names_the_version(api, widgets, group):
    api.post(widgets, a_widget(group, count=1), fieldManager="editor")

    refused = api.apply(f"{widgets}/w", a_widget(group, count=2), "one")

    assert refused.json()["message"] == (
        f'Apply failed with 1 conflict: conflict with "editor" using {group}/v1: .spec.count'
    )


def test_items_of_a_keyed_list_have_owners(api, widgets, group):
    api.apply(f"{widgets}/w", a_widget(group, rows=[{"k": "a", "v": "1"}]), "one")
    part = a_widget(group)
    part["spec"] = {"rows": [{"k": "b", "v": "2"}]}

    both = api.apply(f"{widgets}/w", part, "two")
    assert [row["k"] for row in both.json()["spec"]["rows"]] == ["a", "b"]
    item = {".": {}, "f:k": {}, "f:v": {}}
    assert owners(both)["two", "Apply"] == {"f:spec": {"f:rows": {'k:{"k":"b"}': item}}}

    left = api.apply(f"{widgets}/w", a_widget(group), "one")
    assert [row["k"] for row in left.json()["spec"]["rows"]] == ["b"]


def test_members_of_a_set_have_owners(api, widgets, group):
    api.apply(f"{widgets}/w", a_widget(group, tags=["a", "b"]), "one")
    part = a_widget(group)
    part["spec"] = {"tags": ["c"]}
    api.apply(f"{widgets}/w", part, "two")

    left = api.apply(f"{widgets}/w", a_widget(group, tags=["b"]), "one")

    assert sorted(left.json()["spec"]["tags"]) == ["b", "c"]


def test_status_is_applied_apart(api, widgets, group):
    api.apply(f"{widgets}/w", a_widget(group), "one")
    status = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w"}, "status": {"phase": "Done"}}

    applied = api.apply(f"{widgets}/w/status", status, "two")

    assert applied.json()["status"] == {"phase": "Done"}
    entry = next(e for e in applied.json()["metadata"]["managedFields"] if e["manager"] == "two")
    assert (entry["subresource"], entry["fieldsV1"]) == ("status", {"f:status": {"f:phase": {}}})


def test_status_of_nothing_cannot_be_applied(api, widgets, group):
    assert api.apply(f"{widgets}/w/status", a_widget(group), "one").status_code == 404


def test_apply_needs_a_manager(api, widgets, group):
    refused = api.patch(f"{widgets}/w", a_widget(group), "apply-patch+yaml")

    assert refused.status_code == 422
    assert refused.json()["details"]["causes"][0]["field"] == "fieldManager"


def test_apply_does_not_take_managed_fields(api, widgets, group):
    widget = a_widget(group)
    widget["metadata"]["managedFields"] = []

    refused = api.apply(f"{widgets}/w", widget, "one")

    assert refused.json()["message"] == "metadata.managedFields must be nil"


def test_applied_object_is_checked(api, widgets, group):
    assert api.apply(f"{widgets}/w", a_widget(group, count=99), "one").status_code == 422


def test_labels_and_annotations_have_owners(api, configmaps):
    content = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"x": "1"}}}

    api.apply(f"{configmaps}/a", content, "one")
    api.patch(f"{configmaps}/a", {"metadata": {"annotations": {"n": "1"}}}, fieldManager="editor")
    content["metadata"]["labels"] = {"y": "2"}
    applied = api.apply(f"{configmaps}/a", content, "one")

    assert applied.json()["metadata"]["labels"] == {"y": "2"}
    assert applied.json()["metadata"]["annotations"] == {"n": "1"}
    assert owners(applied)["one", "Apply"] == {"f:metadata": {"f:labels": {"f:y": {}}}}


@pytest.mark.parametrize("image", ["i", "j"])
def test_containers_are_applied_by_name(api, namespace, image):
    path = f"/api/v1/namespaces/{namespace}/pods"
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    pod["spec"] = {"containers": [{"name": "c", "image": image, "ports": [{"containerPort": 80}]}]}

    applied = api.apply(f"{path}/p", pod, "one")

    container = owners(applied)["one", "Apply"]["f:spec"]["f:containers"]['k:{"name":"c"}']
    assert {".", "f:name", "f:image", "f:ports"} <= set(container)
    assert 'k:{"containerPort":80,"protocol":"TCP"}' in container["f:ports"]
