"""Watches: what they send, in which order, and where they begin."""


def a_map(name, **labels):
    return {"metadata": {"name": name, "labels": labels}}


def version(response):
    return response.json()["metadata"]["resourceVersion"]


def test_watch_from_a_list_sees_every_change(api, configmaps):
    start = version(api.get(configmaps))

    with api.watch(configmaps, resourceVersion=start) as watch:
        api.post(configmaps, a_map("a"))
        api.patch(f"{configmaps}/a", {"data": {"x": "y"}})
        api.delete(f"{configmaps}/a")

        events = [watch.next() for _ in range(3)]

    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))
    assert events[2]["object"]["data"] == {"x": "y"}


def test_watch_catches_up(api, configmaps):
    start = version(api.get(configmaps))
    api.post(configmaps, a_map("a"))
    api.post(configmaps, a_map("b"))
    api.delete(f"{configmaps}/a")

    with api.watch(configmaps, resourceVersion=start) as watch:
        assert watch.take(3) == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")]


def test_watch_resumes_after_a_deletion(api, configmaps):
    start = version(api.get(configmaps))
    api.post(configmaps, a_map("a"))
    api.delete(f"{configmaps}/a")
    with api.watch(configmaps, resourceVersion=start) as watch:
        watch.next()
        last = watch.next()["object"]["metadata"]["resourceVersion"]
    api.post(configmaps, a_map("b"))

    with api.watch(configmaps, resourceVersion=last) as watch:
        assert watch.take(1) == [("ADDED", "b")]


def test_watch_without_a_version_begins_with_what_is_there(api, widgets, group):
    widget = {"apiVersion": f"{group}/v1", "kind": "Widget", "spec": {"name": "ok"}}
    api.post(widgets, {**widget, "metadata": {"name": "a"}})

    for params in ({}, {"resourceVersion": "0"}):
        with api.watch(widgets, **params) as watch:
            assert watch.take(1) == [("ADDED", "a")]


def test_watch_ends_in_time(api, widgets):
    with api.watch(widgets, timeoutSeconds="1", resourceVersion="0") as watch:
        assert watch.rest() == []


def test_write_that_changes_nothing_is_no_event(api, configmaps):
    made = api.post(configmaps, a_map("a"))

    with api.watch(configmaps, resourceVersion=version(made)) as watch:
        assert version(api.patch(f"{configmaps}/a", {})) == version(made)
        api.post(configmaps, a_map("b"))

        assert watch.take(1) == [("ADDED", "b")]


def test_selected_object_comes_and_goes(api, configmaps):
    start = version(api.get(configmaps))

    with api.watch(configmaps, resourceVersion=start, labelSelector="on=yes") as watch:
        api.post(configmaps, a_map("a"))
        api.patch(f"{configmaps}/a", {"metadata": {"labels": {"on": "yes"}}})
        api.patch(f"{configmaps}/a", {"data": {"x": "y"}})
        api.patch(f"{configmaps}/a", {"metadata": {"labels": {"on": "no"}}})
        api.delete(f"{configmaps}/a")
        api.post(configmaps, a_map("b", on="yes"))

        assert watch.take(4) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "b")]


def test_one_object_can_be_watched(api, configmaps):
    start = version(api.get(configmaps))

    with api.watch(configmaps, resourceVersion=start, fieldSelector="metadata.name=b") as watch:
        api.post(configmaps, a_map("a"))
        api.post(configmaps, a_map("b"))

        assert watch.take(1) == [("ADDED", "b")]


def test_bookmark_closes_the_initial_events(api, widgets, group):
    widget = {"apiVersion": f"{group}/v1", "kind": "Widget", "spec": {"name": "ok"}}
    made = api.post(widgets, {**widget, "metadata": {"name": "a"}})
    params = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}

    with api.watch(widgets, **params) as watch:
        first, mark = watch.next(), watch.next()

    assert first["type"] == "ADDED"
    assert mark["type"] == "BOOKMARK"
    assert mark["object"]["kind"] == "Widget"
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(mark["object"]["metadata"]["resourceVersion"]) >= int(version(made))


def test_initial_events_need_a_match(api, widgets):
    refused = api.get(widgets, watch="true", sendInitialEvents="true", timeoutSeconds="1")

    assert (refused.status_code, refused.json()["reason"]) == (422, "Invalid")


def test_other_namespaces_stay_out_of_sight(api, configmaps):
    start = version(api.get(configmaps))

    with api.watch(configmaps, resourceVersion=start) as watch:
        other = api.post("/api/v1/namespaces/default/configmaps", {"metadata": {"generateName": "other-"}})
        api.post(configmaps, a_map("a"))

        assert watch.take(1) == [("ADDED", "a")]
    api.delete(f"/api/v1/namespaces/default/configmaps/{other.json()['metadata']['name']}")


def test_old_spelling_of_true_is_understood(api, configmaps):
    start = version(api.get(configmaps))
    api.post(configmaps, a_map("a"))

    with api.watch(configmaps, watch="1", resourceVersion=start) as watch:
        assert watch.take(1) == [("ADDED", "a")]
