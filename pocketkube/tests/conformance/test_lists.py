"""Lists: selectors, pages, and the moment they show."""

import pytest


def fill(api, path, *names, labels=None):
    for name in names:
        made = api.post(path, {"metadata": {"name": name, "labels": labels or {}}})
        assert made.status_code == 201, made.text


def names(response):
    assert response.status_code == 200, response.text
    return [item["metadata"]["name"] for item in response.json()["items"]]


def test_list_has_kind_and_version(api, configmaps):
    fill(api, configmaps, "b", "a")

    listed = api.get(configmaps).json()

    assert (listed["kind"], listed["apiVersion"]) == ("ConfigMapList", "v1")
    assert int(listed["metadata"]["resourceVersion"]) > 0
    assert [item["metadata"]["name"] for item in listed["items"]] == ["a", "b"]


def test_empty_list_is_a_list(api, widgets):
    listed = api.get(widgets).json()

    assert listed["kind"] == "WidgetList"
    assert listed["items"] == []


@pytest.mark.parametrize(
    ("selector", "wanted"),
    [
        ("app=a", ["one"]),
        ("app==a", ["one"]),
        ("app!=a", ["three", "two"]),
        ("app", ["one", "two"]),
        ("!app", ["three"]),
        ("app in (a, b)", ["one", "two"]),
        ("app notin (a)", ["three", "two"]),
        ("app=a,tier=x", ["one"]),
        ("tier=x", ["one", "three"]),
        ("example.test/long=v", ["two"]),
        ("app in (),!tier", []),
    ],
)
def test_label_selectors(api, configmaps, selector, wanted):
    fill(api, configmaps, "one", labels={"app": "a", "tier": "x"})
    fill(api, configmaps, "two", labels={"app": "b", "example.test/long": "v"})
    fill(api, configmaps, "three", labels={"tier": "x"})

    assert names(api.get(configmaps, labelSelector=selector)) == wanted


@pytest.mark.parametrize("selector", ["a b", "a in", "=x", "a in (", "a=b=c", "a in (b", "a&b"])
def test_bad_label_selector_is_a_bad_request(api, configmaps, selector):
    refused = api.get(configmaps, labelSelector=selector)

    assert (refused.status_code, refused.json()["reason"]) == (400, "BadRequest")


def test_objects_are_selected_by_name(api, configmaps, namespace):
    fill(api, configmaps, "a", "b")

    assert names(api.get(configmaps, fieldSelector="metadata.name=a")) == ["a"]
    assert names(api.get(configmaps, fieldSelector="metadata.name!=a,metadata.name!=kube-root-ca.crt")) == ["b"]
    assert "a" in names(api.get("/api/v1/configmaps", fieldSelector=f"metadata.namespace={namespace}"))


def test_unknown_field_selector_is_a_bad_request(api, configmaps):
    refused = api.get(configmaps, fieldSelector="data.x=y")

    assert (refused.status_code, refused.json()["reason"]) == (400, "BadRequest")


def test_pods_are_selected_by_node(api, namespace):
    path = f"/api/v1/namespaces/{namespace}/pods"
    for name, node in (("p", "n1"), ("q", "n2")):
        spec = {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}
        assert api.post(path, {"metadata": {"name": name}, "spec": spec}).status_code == 201

    assert names(api.get(path, fieldSelector="spec.nodeName=n1")) == ["p"]
    assert names(api.get(path, fieldSelector="status.phase=Pending,spec.nodeName!=n1")) == ["q"]


def test_events_are_selected_by_what_they_are_about(api, namespace):
    path = f"/api/v1/namespaces/{namespace}/events"
    for name in ("p", "q"):
        about = {"kind": "Pod", "name": name, "namespace": namespace}
        api.post(path, {"metadata": {"name": f"e-{name}"}, "involvedObject": about, "reason": "R"})

    assert names(api.get(path, fieldSelector="involvedObject.name=p,involvedObject.kind=Pod")) == ["e-p"]


def test_custom_objects_are_selected_by_declared_fields(api, widgets, group):
    for name, color in (("a", "red"), ("b", "blue")):
        api.post(widgets, {"metadata": {"name": name}, "spec": {"name": "ok", "color": color}, **kind(group)})

    assert names(api.get(widgets, fieldSelector="spec.color=blue")) == ["b"]


def kind(group):
    return {"apiVersion": f"{group}/v1", "kind": "Widget"}


def test_pages_add_up(api, configmaps):
    wanted = [f"m{number}" for number in range(7)]
    fill(api, configmaps, *wanted)

    found, token = [], ""
    while True:
        page = api.get(configmaps, limit=3, **({"continue": token} if token else {}))
        found += names(page)
        token = page.json()["metadata"].get("continue", "")
        if not token:
            break
        assert page.json()["metadata"]["remainingItemCount"] > 0

    assert [name for name in found if name.startswith("m")] == wanted


def test_pages_show_one_moment(api, configmaps):
    fill(api, configmaps, "a", "b", "c", "d")
    first = api.get(configmaps, limit=2).json()["metadata"]

    api.delete(f"{configmaps}/d")
    api.patch(f"{configmaps}/c", {"data": {"late": "yes"}})
    fill(api, configmaps, "cc")
    second = api.get(configmaps, limit=9, **{"continue": first["continue"]})

    rest = [item for item in second.json()["items"] if item["metadata"]["name"] != "kube-root-ca.crt"]
    assert [item["metadata"]["name"] for item in rest] == ["c", "d"]
    assert "data" not in rest[0]
    assert second.json()["metadata"]["resourceVersion"] == first["resourceVersion"]


def test_bad_continue_token_is_a_bad_request(api, configmaps):
    assert api.get(configmaps, limit=1, **{"continue": "nonsense"}).status_code == 400


def test_list_at_an_exact_version(api, configmaps):
    fill(api, configmaps, "a")
    then = api.get(configmaps).json()["metadata"]["resourceVersion"]
    fill(api, configmaps, "b")

    past = api.get(configmaps, resourceVersion=then, resourceVersionMatch="Exact")

    assert [name for name in names(past) if len(name) == 1] == ["a"]
    assert past.json()["metadata"]["resourceVersion"] == then


def test_list_of_the_future_times_out(api, configmaps):
    refused = api.get(configmaps, resourceVersion="999999999")

    assert (refused.status_code, refused.json()["reason"]) == (504, "Timeout")
    assert refused.json()["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


def test_bad_parameters_are_bad_requests(api, configmaps):
    assert api.get(configmaps, limit="x").status_code == 400
    assert api.get(configmaps, resourceVersion="abc").status_code == 400


def test_list_over_all_namespaces(api, configmaps, namespace):
    fill(api, configmaps, "everywhere")

    listed = api.get("/api/v1/configmaps").json()["items"]

    assert (namespace, "everywhere") in [(i["metadata"]["namespace"], i["metadata"]["name"]) for i in listed]


def test_delete_collection_deletes_what_is_selected(api, configmaps):
    fill(api, configmaps, "a", labels={"go": "yes"})
    fill(api, configmaps, "b")

    gone = api.delete(configmaps, labelSelector="go=yes")

    assert gone.status_code == 200
    assert [name for name in names(api.get(configmaps)) if len(name) == 1] == ["b"]
