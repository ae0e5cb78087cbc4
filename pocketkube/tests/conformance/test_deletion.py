"""Deletion: finalizers, preconditions, owners, namespaces."""

from .eventually import eventually
from .widgets import a_widget


def a_map(name="a", **metadata):
    return {"metadata": {"name": name, **metadata}}


def test_deleted_object_is_gone(api, configmaps):
    made = api.post(configmaps, a_map()).json()

    gone = api.delete(f"{configmaps}/a")

    assert gone.status_code == 200
    assert gone.json()["status"] == "Success"
    assert gone.json()["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    assert api.get(f"{configmaps}/a").status_code == 404


def test_deleting_nothing_is_not_found(api, configmaps):
    assert api.delete(f"{configmaps}/a").status_code == 404


def test_finalizer_holds_an_object(api, configmaps):
    api.post(configmaps, a_map(finalizers=["example.test/hold"]))

    held = api.delete(f"{configmaps}/a").json()["metadata"]
    assert held["deletionTimestamp"]
    assert held["deletionGracePeriodSeconds"] == 0
    assert api.get(f"{configmaps}/a").status_code == 200

    api.patch(f"{configmaps}/a", {"metadata": {"finalizers": None}})
    assert api.get(f"{configmaps}/a").status_code == 404


def test_second_deletion_changes_nothing(api, configmaps):
    api.post(configmaps, a_map(finalizers=["example.test/hold"]))
    first = api.delete(f"{configmaps}/a").json()

    second = api.delete(f"{configmaps}/a").json()

    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    api.patch(f"{configmaps}/a", {"metadata": {"finalizers": None}})


def test_no_finalizer_is_added_to_the_dying(api, configmaps):
    api.post(configmaps, a_map(finalizers=["example.test/hold"]))
    api.delete(f"{configmaps}/a")

    refused = api.patch(f"{configmaps}/a", {"metadata": {"finalizers": ["example.test/hold", "example.test/more"]}})

    assert refused.status_code == 422
    assert refused.json()["details"]["causes"][0]["field"] == "metadata.finalizers"
    api.patch(f"{configmaps}/a", {"metadata": {"finalizers": None}})


def test_deletion_time_cannot_be_taken_back(api, configmaps):
    api.post(configmaps, a_map(finalizers=["example.test/hold"]))
    api.delete(f"{configmaps}/a")

    patched = api.patch(f"{configmaps}/a", {"metadata": {"deletionTimestamp": None}, "data": {"x": "y"}})

    assert patched.json()["metadata"]["deletionTimestamp"]
    api.patch(f"{configmaps}/a", {"metadata": {"finalizers": None}})


def test_wrong_uid_keeps_an_object(api, configmaps):
    api.post(configmaps, a_map())

    refused = api.delete(f"{configmaps}/a", {"preconditions": {"uid": "other"}})

    assert (refused.status_code, refused.json()["reason"]) == (409, "Conflict")
    assert "the UID in the precondition (other) does not match the UID in record" in refused.json()["message"]


def test_wrong_version_keeps_an_object(api, configmaps):
    api.post(configmaps, a_map())

    refused = api.delete(f"{configmaps}/a", {"preconditions": {"resourceVersion": "1"}})

    assert refused.status_code == 409
    assert api.get(f"{configmaps}/a").status_code == 200


def test_unknown_policy_is_invalid(api, configmaps):
    api.post(configmaps, a_map())

    assert api.delete(f"{configmaps}/a", {"propagationPolicy": "Sideways"}).status_code == 422


def test_dry_deletion_changes_nothing(api, configmaps):
    api.post(configmaps, a_map())

    assert api.delete(f"{configmaps}/a", dryRun="All").status_code == 200
    assert api.get(f"{configmaps}/a").status_code == 200


def owned_by(owner, **extra):
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        **extra,
    }
    return [reference]


def test_owner_must_be_whole(api, configmaps):
    refused = api.post(configmaps, a_map(ownerReferences=[{"kind": "Pod", "name": "p"}]))

    assert refused.status_code == 422


async def test_dependents_follow_their_owner(api, widgets, group, configmaps):
    owner = api.post(widgets, a_widget(group)).json()
    api.post(configmaps, a_map("child", ownerReferences=owned_by(owner)))
    child = api.get(f"{configmaps}/child").json()
    api.post(configmaps, a_map("grandchild", ownerReferences=owned_by(child)))

    api.delete(f"{widgets}/w")

    await eventually(lambda: api.get(f"{configmaps}/child").status_code == 404)
    await eventually(lambda: api.get(f"{configmaps}/grandchild").status_code == 404)


async def test_one_living_owner_is_enough(api, widgets, group, configmaps):
    one = api.post(widgets, a_widget(group, "one")).json()
    two = api.post(widgets, a_widget(group, "two")).json()
    api.post(configmaps, a_map("child", ownerReferences=owned_by(one) + owned_by(two)))

    api.delete(f"{widgets}/one")

    def left():
        return [owner["name"] for owner in api.get(f"{configmaps}/child").json()["metadata"]["ownerReferences"]]

    await eventually(lambda: left() == ["two"])


async def test_foreground_deletion_ends_with_the_owner(api, widgets, group, configmaps):
    owner = api.post(widgets, a_widget(group)).json()
    reference = owned_by(owner, blockOwnerDeletion=True)
    api.post(configmaps, a_map("child", ownerReferences=reference, finalizers=["example.test/hold"]))

    answer = api.delete(f"{widgets}/w", {"propagationPolicy": "Foreground"}).json()
    assert "foregroundDeletion" in answer["metadata"]["finalizers"]
    await eventually(lambda: "deletionTimestamp" in api.get(f"{configmaps}/child").json()["metadata"])
    assert api.get(f"{widgets}/w").status_code == 200

    api.patch(f"{configmaps}/child", {"metadata": {"finalizers": None}})
    await eventually(lambda: api.get(f"{widgets}/w").status_code == 404)


async def test_orphans_live_on(api, widgets, group, configmaps):
    owner = api.post(widgets, a_widget(group)).json()
    api.post(configmaps, a_map("child", ownerReferences=owned_by(owner)))

    api.delete(f"{widgets}/w", {"propagationPolicy": "Orphan"})

    await eventually(lambda: api.get(f"{widgets}/w").status_code == 404)
    assert "ownerReferences" not in api.get(f"{configmaps}/child").json()["metadata"]


async def test_namespace_ends_with_its_contents(api, group, unique):
    api.post("/api/v1/namespaces", {"metadata": {"name": unique}})
    api.post(f"/api/v1/namespaces/{unique}/configmaps", a_map())
    held = a_widget(group)
    held["metadata"]["finalizers"] = ["example.test/hold"]
    api.post(f"/apis/{group}/v1/namespaces/{unique}/widgets", held)

    api.delete(f"/api/v1/namespaces/{unique}")

    await eventually(lambda: api.get(f"/api/v1/namespaces/{unique}/configmaps/a").status_code == 404)
    assert api.get(f"/api/v1/namespaces/{unique}").json()["status"]["phase"] == "Terminating"
    refused = api.post(f"/api/v1/namespaces/{unique}/configmaps", a_map("late"))
    assert (refused.status_code, refused.json()["reason"]) == (403, "Forbidden")
    assert refused.json()["details"]["causes"][0]["reason"] == "NamespaceTerminating"

    api.patch(f"/apis/{group}/v1/namespaces/{unique}/widgets/w", {"metadata": {"finalizers": None}})
    await eventually(lambda: api.get(f"/api/v1/namespaces/{unique}").status_code == 404)


def test_first_namespaces_are_there(api):
    for name in ("default", "kube-system", "kube-public"):
        assert api.get(f"/api/v1/namespaces/{name}").json()["status"]["phase"] == "Active"
