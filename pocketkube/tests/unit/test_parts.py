"""Small decisions: selectors, versions, owners, columns, patches."""

import pytest

from pocketkube import ownership, selectors, tables, versions
from pocketkube.builtin import builtin_resources
from pocketkube.resources import version_rank
from pocketkube.strategic import patched
from pocketkube.typed import definition_name, node_of

BY_KIND = {(resource.group, resource.kind): resource for resource in builtin_resources()}
POD = BY_KIND["", "Pod"]


def test_preferred_versions_come_first():
    found = sorted(["v1alpha1", "v2", "v1beta2", "v1", "v10", "v1beta1", "other"], key=version_rank)

    assert found == ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "other"]


@pytest.mark.parametrize("resource", builtin_resources(), ids=lambda resource: f"{resource.group}/{resource.kind}")
def test_every_built_in_kind_has_a_type(resource):
    assert definition_name(resource)
    assert "metadata" in node_of(resource).properties


@pytest.mark.parametrize(
    ("text", "labels", "holds"),
    [
        ("n>3", {"n": "4"}, True),
        ("n<3", {"n": "4"}, False),
        ("n>3", {"n": "x"}, False),
        ("a notin (b)", {}, True),
        ("a!=b", {}, True),
        ("a=", {"a": ""}, True),
        ("a in (,b)", {"a": ""}, True),
    ],
)
def test_label_selector(text, labels, holds):
    assert all(requirement.holds(labels) for requirement in selectors.parse_labels(text)) is holds


def test_field_selector_can_escape():
    assert selectors.parse_fields("metadata.name=a\\,b,metadata.namespace!=c", ()) == (
        ("metadata.name", True, "a,b"),
        ("metadata.namespace", False, "c"),
    )


def test_events_change_their_names_with_their_version():
    core, new = BY_KIND["", "Event"], BY_KIND["events.k8s.io", "Event"]
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {}, "message": "m", "involvedObject": {"name": "p"}}

    seen = versions.shown(new, event)

    assert seen["note"] == "m"
    assert seen["regarding"] == {"name": "p"}
    assert versions.stored(new, seen) == event
    assert versions.shown(core, event) == event


def test_field_sets_keep_members_apart_from_their_parts():
    tree = ownership.tree_of([("f:spec",), ("f:spec", "f:a"), ("f:b", "f:c")])

    assert tree == {"f:spec": {".": {}, "f:a": {}}, "f:b": {"f:c": {}}}
    assert set(ownership.paths_of(tree)) == {("f:spec",), ("f:spec", "f:a"), ("f:b", "f:c")}
    assert ownership.discard(tree, ("f:spec",))
    assert tree == {"f:spec": {"f:a": {}}, "f:b": {"f:c": {}}}
    assert not ownership.discard(tree, ("f:b",))
    assert ownership.discard(tree, ("f:b",), below=True)
    assert tree == {"f:spec": {"f:a": {}}}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.b", [1]),
        (".a['x.y']", [2]),
        (".a.x\\.y", [2]),
        (".l[1].n", ["q"]),
        (".l[*].n", ["p", "q"]),
        ('.l[?(@.n=="q")].v', [4]),
        (".nope.b", []),
        (".l[7].n", []),
        ("a.b", [1]),
        (".l[?(", []),
    ],
)
def test_json_paths(path, found):
    value = {"a": {"b": 1, "x.y": 2}, "l": [{"n": "p", "v": 3}, {"n": "q", "v": 4}]}

    assert tables.values_at(value, path) == found


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "5s"), (119, "119s"), (150, "2m30s"), (600, "10m"), (10_860, "3h1m"), (90_000, "25h"), (700_000, "8d")],
)
def test_durations_get_rougher(seconds, text):
    assert tables.duration(seconds) == text


def a_pod():
    containers = [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]
    return {"metadata": {"name": "p", "finalizers": ["x", "y"]}, "spec": {"containers": containers}}


def test_strategic_patch_replaces_a_list_when_told():
    patch = {"spec": {"containers": [{"$patch": "replace"}, {"name": "c"}]}}

    assert patched(POD, a_pod(), patch)["spec"]["containers"] == [{"name": "c"}]


def test_strategic_patch_arranges_a_list():
    patch = {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}

    assert [c["name"] for c in patched(POD, a_pod(), patch)["spec"]["containers"]] == ["b", "a"]


def test_strategic_patch_takes_members_of_a_set():
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x"]}}

    assert patched(POD, a_pod(), patch)["metadata"]["finalizers"] == ["y"]


def test_strategic_patch_keeps_what_it_is_told():
    patch = {"spec": {"$retainKeys": ["nodeName"], "nodeName": "n"}}

    assert patched(POD, a_pod(), patch)["spec"] == {"nodeName": "n"}
