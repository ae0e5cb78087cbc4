"""Which kinds a real server has, before and after a definition is installed."""

import asyncio
import uuid

import pytest

from kubernaut.kube.client import Client
from kubernaut.kube.crds import CRD, ensure_crds
from kubernaut.kube.discovery import Discovery
from kubernaut.kube.errors import Invalid
from kubernaut.kube.objects import Key, Kind, Unstructured
from support.kinds import a_definition

pytestmark = pytest.mark.kubernetes


@pytest.mark.parametrize(
    ("api_version", "kind", "plural", "namespaced"),
    [
        ("v1", "Pod", "pods", True),
        ("v1", "Node", "nodes", False),
        ("v1", "PersistentVolumeClaim", "persistentvolumeclaims", True),
        ("apps/v1", "Deployment", "deployments", True),
        ("batch/v1", "Job", "jobs", True),
        ("networking.k8s.io/v1", "Ingress", "ingresses", True),
    ],
)
async def test_kind_is_found_by_its_name(client: Client, api_version: str, kind: str, plural: str, namespaced: bool):
    found = await Discovery(client).kind(api_version, kind)

    assert found is not None
    assert (found.api_version, found.kind, found.plural, found.namespaced) == (api_version, kind, plural, namespaced)


async def test_unknown_kind_and_unknown_group_are_none(client: Client):
    discovery = Discovery(client)

    assert await discovery.kind("apps/v1", "Contraption") is None
    assert await discovery.kind("nowhere.example.com/v1", "Thing") is None


async def test_singular_names_prefer_the_core_group(client: Client):
    discovery = Discovery(client)
    names = ("pod", "event", "deployment", "ingress", "service")

    assert {name: (await discovery.kinds_called(name))[0].api_version for name in names} == {
        "pod": "v1",
        "event": "v1",
        "deployment": "apps/v1",
        "ingress": "networking.k8s.io/v1",
        "service": "v1",
    }


async def test_definition_is_installed_once_by_many_and_discovered(client: Client, namespace: str):
    group = f"g{uuid.uuid4().hex[:8]}.example.com"
    manifest = a_definition(group)
    discovery = Discovery(client, refresh_interval=0.0)
    assert await discovery.kind(f"{group}/v1", "Widget") is None

    await asyncio.gather(*(ensure_crds(client, [manifest]) for _ in range(4)))
    try:
        found = await discovery.kind(f"{group}/v1", "Widget")
        assert found is not None
        widget = await client.create(found, {"metadata": {"name": "a", "namespace": namespace}, "spec": {"size": 1}})
        assert (await client.patch_status(found, widget, {"phase": "Done"})).metadata.uid == widget.metadata.uid
        assert (await discovery.kind_by_singular_name("widget")) is not None
        with pytest.raises(Invalid, match="size"):
            await client.create(found, {"metadata": {"name": "b", "namespace": namespace}, "spec": {"size": 0}})
    finally:
        await client.delete(CRD, Key("", manifest["metadata"]["name"]))


async def test_definition_is_brought_up_to_date(client: Client):
    group = f"g{uuid.uuid4().hex[:8]}.example.com"
    manifest = a_definition(group)
    whole: Kind[Unstructured] = CRD.with_type(Unstructured)
    key = Key("", manifest["metadata"]["name"])
    await ensure_crds(client, [manifest])
    try:
        manifest["spec"]["names"]["shortNames"] = ["wd"]
        await ensure_crds(client, [manifest])
        first = await client.get(whole, key)
        await ensure_crds(client, [manifest])
        second = await client.get(whole, key)

        assert second["spec"]["names"]["shortNames"] == ["wd"]
        assert second["metadata"]["generation"] == first["metadata"]["generation"]
    finally:
        await client.delete(CRD, key)


async def test_kind_of_a_version_that_is_not_served_is_none(client: Client):
    discovery = Discovery(client)

    assert await discovery.kind("apps/v1", "Deployment") is not None
    assert await discovery.kind("apps/v9", "Deployment") is None
