"""The client against a real API server."""

import asyncio
from contextlib import aclosing

import pytest

from kubernaut.api.meta import ObjectMeta, Wire
from kubernaut.kube.client import Client, ClientConfig, ListOptions, PatchType, open_client
from kubernaut.kube.errors import AlreadyExists, Conflict, Invalid, KubeError, NotFound
from kubernaut.kube.objects import Key, Kind, Unstructured
from support.kinds import CONFIGMAP, NAMESPACE, POD, a_configmap, a_pod

pytestmark = pytest.mark.kubernetes


class PodStatus(Wire, frozen=True):
    phase: str = ""
    message: str = ""


class Pod(Wire, frozen=True):
    metadata: ObjectMeta = ObjectMeta()
    status: PodStatus = PodStatus()


NARROW_POD: Kind[Pod] = POD.with_type(Pod)


async def test_object_is_read_as_it_was_created(client: Client, namespace: str):
    made = await client.create(CONFIGMAP, a_configmap(namespace, "a", {"app": "api"}, colour="blue"))

    assert await client.get(CONFIGMAP, Key(namespace, "a")) == made
    assert made.data == {"colour": "blue"}
    assert made.metadata.labels == {"app": "api"}
    assert made.metadata.uid


async def test_second_object_of_a_name_already_exists(client: Client, namespace: str):
    await client.create(CONFIGMAP, a_configmap(namespace, "a"))

    with pytest.raises(AlreadyExists, match='"a" already exists'):
        await client.create(CONFIGMAP, a_configmap(namespace, "a"))


async def test_missing_object_and_missing_kind_are_not_found(client: Client, namespace: str):
    nowhere = Kind(group="nowhere.example.com", version="v1", kind="Thing", plural="things", type=Unstructured)

    with pytest.raises(NotFound):
        await client.get(CONFIGMAP, Key(namespace, "none"))
    with pytest.raises(NotFound):
        await client.list(nowhere)


async def test_bad_object_is_invalid(client: Client, namespace: str):
    with pytest.raises(KubeError) as raised:
        await client.create(POD, {"metadata": {"name": "a", "namespace": namespace, "labels": {"a b": "c d"}}})

    assert isinstance(raised.value, Invalid)


async def test_list_comes_in_pages_and_whole(client: Client, namespace: str):
    for number in range(8):
        await client.create(CONFIGMAP, a_configmap(namespace, f"m{number}", {"odd": str(number % 2)}))

    everything = await client.list(CONFIGMAP, ListOptions(namespace=namespace, label_selector="odd"))
    odd = await client.list(CONFIGMAP, ListOptions(namespace=namespace, label_selector="odd=1"))
    one = await client.list(CONFIGMAP, ListOptions(namespace=namespace, field_selector="metadata.name=m3"))

    assert sorted(item.metadata.name for item in everything.items) == [f"m{number}" for number in range(8)]
    assert len(odd.items) == 4
    assert [item.metadata.name for item in one.items] == ["m3"]
    assert int(everything.resource_version) > 0


async def test_stale_replacement_is_a_conflict(client: Client, namespace: str):
    first = await client.create(CONFIGMAP, a_configmap(namespace, "a", value="1"))
    await client.patch(CONFIGMAP, Key(namespace, "a"), {"data": {"value": "2"}})

    with pytest.raises(Conflict):
        await client.replace(CONFIGMAP, first)


async def test_three_kinds_of_patch(client: Client, namespace: str):
    key = Key(namespace, "a")
    await client.create(CONFIGMAP, a_configmap(namespace, "a", one="1", two="2"))

    await client.patch(CONFIGMAP, key, {"data": {"one": None}})
    await client.patch(CONFIGMAP, key, [{"op": "add", "path": "/data/three", "value": "3"}], PatchType.JSON)
    applied = {"metadata": {"name": "a", "namespace": namespace}, "data": {"four": "4"}}
    patched = await client.patch(CONFIGMAP, key, applied, PatchType.APPLY)

    assert patched.data == {"two": "2", "three": "3", "four": "4"}


async def test_status_patch_needs_the_newest_state(client: Client, namespace: str):
    pod = await client.create(NARROW_POD, a_pod(namespace, "a"))
    newer = await client.patch_status(NARROW_POD, pod, {"phase": "Running"})

    with pytest.raises(Conflict):
        await client.patch_status(NARROW_POD, pod, {"phase": "Failed"})
    newest = await client.patch_status(NARROW_POD, newer, PodStatus(message="all is well"))

    assert newest.status == PodStatus(phase="Running", message="all is well")


async def test_status_patch_changes_nothing_else(client: Client, namespace: str):
    made = await client.create(NARROW_POD, a_pod(namespace, "a"))
    path = Key(namespace, "a")
    await client.patch(NARROW_POD, path, {"metadata": {"labels": {"x": "y"}}, "status": {"phase": "Failed"}})

    pod = await client.get(NARROW_POD, path)

    assert pod.status.phase in {"", "Pending"}
    assert pod.metadata.labels == {"x": "y"}
    assert pod.metadata.uid == made.metadata.uid


async def test_deletion_of_a_changed_object_is_a_conflict(client: Client, namespace: str):
    key = Key(namespace, "a")
    first = await client.create(CONFIGMAP, a_configmap(namespace, "a"))
    newer = await client.patch(CONFIGMAP, key, {"data": {"x": "y"}})

    with pytest.raises(Conflict):
        await client.delete(CONFIGMAP, key, precondition=first)
    await client.delete(CONFIGMAP, key, precondition=newer)

    with pytest.raises(NotFound):
        await client.get(CONFIGMAP, key)


async def test_watch_starts_at_the_resource_version(client: Client, namespace: str):
    selection = ListOptions(namespace=namespace, label_selector="seen")
    since = (await client.list(CONFIGMAP, selection)).resource_version
    await client.create(CONFIGMAP, a_configmap(namespace, "a", {"seen": "1"}))
    await client.create(CONFIGMAP, a_configmap(namespace, "other"))
    await client.patch(CONFIGMAP, Key(namespace, "a"), {"data": {"x": "y"}})
    await client.delete(CONFIGMAP, Key(namespace, "a"))

    seen: list[str] = []
    async with asyncio.timeout(10), aclosing(client.watch(CONFIGMAP, since, selection)) as events:
        async for event in events:
            if event.object is not None:
                seen.append(f"{event.type} {event.object.metadata.name}")
            if len(seen) == 3:
                break

    assert seen == ["ADDED a", "MODIFIED a", "DELETED a"]


async def test_server_ends_the_watch_after_its_timeout(client: Client, namespace: str):
    selection = ListOptions(namespace=namespace)
    since = (await client.list(CONFIGMAP, selection)).resource_version

    async with asyncio.timeout(10), aclosing(client.watch(CONFIGMAP, since, selection, timeout=1)) as events:
        ended = [event.type async for event in events]

    assert set(ended) == {"BOOKMARK"}


async def test_watches_use_no_connections_of_calls(client: Client, namespace: str):
    config = ClientConfig(kubeconfig=client.config.kubeconfig, max_connections=1, timeout=5)
    async with open_client(config) as narrow:
        selection = ListOptions(namespace=namespace)
        since = (await narrow.list(CONFIGMAP, selection)).resource_version
        watches = [narrow.watch(CONFIGMAP, since, selection) for _ in range(20)]
        for watch in watches:
            assert (await anext(watch)).type == "BOOKMARK"

        made = await narrow.create(CONFIGMAP, a_configmap(namespace, "a"))
        for watch in watches:
            while (event := await anext(watch)).object is None or event.object.metadata.name != "a":
                pass
            await watch.aclose()

    assert made.metadata.name == "a"


async def test_cluster_scoped_objects_have_no_namespace(client: Client, namespace: str):
    found = await client.get(NAMESPACE, Key("", namespace))

    assert found.metadata.namespace == ""
