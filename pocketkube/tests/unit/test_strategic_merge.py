"""Directives of strategic merge patches."""

from pocketkube.patch.strategic_merge import apply_patch
from pocketkube.resources.builtin import builtin_resources

POD = next(resource for resource in builtin_resources() if resource.kind == "Pod")


def a_pod():
    containers = [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]
    return {"metadata": {"name": "p", "finalizers": ["x", "y"]}, "spec": {"containers": containers}}


def test_strategic_patch_replaces_a_list():
    patch = {"spec": {"containers": [{"$patch": "replace"}, {"name": "c"}]}}

    assert apply_patch(POD, a_pod(), patch)["spec"]["containers"] == [{"name": "c"}]


def test_strategic_patch_reorders_a_list():
    patch = {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}

    assert [c["name"] for c in apply_patch(POD, a_pod(), patch)["spec"]["containers"]] == ["b", "a"]


def test_strategic_patch_removes_members_of_a_set():
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x"]}}

    assert apply_patch(POD, a_pod(), patch)["metadata"]["finalizers"] == ["y"]


def test_strategic_patch_retains_keys():
    patch = {"spec": {"$retainKeys": ["nodeName"], "nodeName": "n"}}

    assert apply_patch(POD, a_pod(), patch)["spec"] == {"nodeName": "n"}
