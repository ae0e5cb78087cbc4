"""Keys, paths, versions, and decoding into narrow types."""

import msgspec
import pytest

from kubernaut.api.meta import Wire
from kubernaut.kube.objects import (
    Key,
    Kind,
    ObjectMeta,
    PartialObjectMetadata,
    Unstructured,
    controller_of,
    is_older,
    key_of,
    resource_version_of,
    to_body,
)

POD = Kind(version="v1", kind="Pod", plural="pods", type=PartialObjectMetadata)
NODE = Kind(version="v1", kind="Node", plural="nodes", namespaced=False, type=PartialObjectMetadata)
DEPLOYMENT = Kind(group="apps", version="v1", kind="Deployment", plural="deployments", type=PartialObjectMetadata)


def test_core_and_grouped_kinds_have_their_own_roots():
    assert POD.collection() == "/api/v1/pods"
    assert POD.collection("shop") == "/api/v1/namespaces/shop/pods"
    assert DEPLOYMENT.path(Key("shop", "api")) == "/apis/apps/v1/namespaces/shop/deployments/api"
    assert DEPLOYMENT.path(Key("shop", "api"), "status") == "/apis/apps/v1/namespaces/shop/deployments/api/status"
    assert NODE.path(Key("", "node-1")) == "/api/v1/nodes/node-1"


def test_cluster_scoped_kind_ignores_a_namespace():
    assert NODE.path(Key("shop", "node-1")) == "/api/v1/nodes/node-1"


def test_api_version_leaves_the_core_group_out():
    assert POD.api_version == "v1"
    assert DEPLOYMENT.api_version == "apps/v1"
    assert (str(POD), str(DEPLOYMENT)) == ("pods", "deployments.apps")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a?b", "a%2fb", "a b", "a#b", "a\nb", "a\\b"])
def test_name_that_would_change_the_path_is_rejected(name: str):
    with pytest.raises(ValueError, match="not a name"):
        POD.path(Key("shop", name))


@pytest.mark.parametrize("name", ["api", "api.v1", "system:node:a", "web-0"])
def test_ordinary_names_are_accepted(name: str):
    assert POD.path(Key("shop", name)).endswith(f"/{name}")


def test_namespaced_object_without_a_namespace_is_rejected():
    with pytest.raises(ValueError, match="needs a namespace"):
        POD.path(Key("", "api"))


@pytest.mark.parametrize("key", [Key("shop", "api"), Key("", "node-1")])
def test_key_survives_being_written_as_text(key: Key):
    assert Key.parse(str(key)) == key


def test_decoding_keeps_only_what_the_type_names():
    class Narrow(Wire, frozen=True):
        metadata: ObjectMeta
        node_name: str = ""

    kind = POD.with_type(Narrow)
    pod = kind.decode(b'{"kind":"Pod","metadata":{"name":"a","managedFields":[1]},"nodeName":"n","spec":{"x":[1]}}')

    assert pod == Narrow(metadata=ObjectMeta(name="a"), node_name="n")


def test_object_that_cannot_be_decoded_raises():
    with pytest.raises(msgspec.ValidationError, match=r"metadata\.labels"):
        POD.decode(b'{"metadata":{"labels":["a"]}}')


@pytest.mark.parametrize(
    ("version", "than", "older"),
    [("9", "10", True), ("10", "9", False), ("10", "10", False), ("", "10", False), ("a", "b", False)],
)
def test_versions_are_compared_as_numbers(version: str, than: str, older: bool):
    assert is_older(version, than) is older


def test_body_names_its_kind_whether_or_not_the_type_does():
    typed = to_body(DEPLOYMENT, PartialObjectMetadata(metadata=ObjectMeta(name="a", namespace="shop")))
    raw = to_body(DEPLOYMENT, {"metadata": {"name": "a"}})

    assert typed == {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "shop"}}
    assert raw["kind"] == "Deployment"


def test_key_and_version_are_read_from_unstructured_objects_too():
    raw: Unstructured = {"metadata": {"name": "a", "namespace": "shop", "resourceVersion": "7"}}

    assert key_of(raw) == key_of(POD.decode(msgspec.json.encode(raw))) == Key("shop", "a")
    assert resource_version_of(raw) == "7"


def test_controller_is_the_owner_reference_marked_as_such():
    owners = [
        {"apiVersion": "v1", "kind": "A", "name": "a"},
        {"apiVersion": "v1", "kind": "B", "name": "b", "controller": True},
    ]
    pod = POD.decode(msgspec.json.encode({"metadata": {"ownerReferences": owners}}))

    owner = controller_of(pod)

    assert owner is not None
    assert owner.name == "b"
