from kubernaut.api.signals import Target
from kubernaut.gateway.cluster import ManifestReader
from kubernaut.gateway.labels import NamedObject, Subject
from kubernaut.gateway.targets import ResolvedObject, Unreadable
from kubernaut.gateway.targets import resolve as resolve_subject
from kubernaut.kube.objects import Key, PartialObjectMetadata
from support.gateway import KINDS, a_cluster, an_object

POD = an_object("Pod", "cart-7d4b-x", owner=("ReplicaSet", "cart-7d4b"))
REPLICAS = an_object("ReplicaSet", "cart-7d4b", owner=("Deployment", "cart"))
DEPLOYMENT = an_object("Deployment", "cart")


def about(kind: str, name: str, namespace: str = "shop") -> NamedObject:
    return NamedObject(label=kind.lower(), kind=kind, name=name, namespace=namespace)


async def resolve(named: list[NamedObject], reader: ManifestReader) -> ResolvedObject:
    resolved = await resolve_subject(Subject(workloads=tuple(named)), reader)
    assert resolved is not None
    return resolved


def target(kind: str, name: str, namespace: str = "shop") -> Target:
    return Target(api_version=KINDS[kind.lower()].api_version, kind=kind, name=name, namespace=namespace)


class DeletedObjects(ManifestReader):
    """A cluster with a tombstone of every object given to it, although none exists."""

    async def get(self, kind, key):
        return None

    def tombstone(self, kind, key) -> PartialObjectMetadata | None:
        return self._objects.get((kind.group, kind.kind), {}).get(key)


async def test_the_owner_is_at_the_top_of_the_chain():
    resolved = await resolve([about("Pod", "cart-7d4b-x")], a_cluster(POD, REPLICAS, DEPLOYMENT))

    assert resolved.target == target("Pod", "cart-7d4b-x")
    assert resolved.owner == target("Deployment", "cart")


async def test_the_first_candidate_that_exists_wins():
    resolved = await resolve(
        [about("Deployment", "gone"), about("Pod", "cart-7d4b-x")], a_cluster(POD, REPLICAS, DEPLOYMENT)
    )

    assert resolved.target == target("Pod", "cart-7d4b-x")


async def test_when_none_exists_the_first_is_the_target_and_its_own_owner():
    resolved = await resolve([about("Deployment", "gone"), about("Pod", "gone-x")], a_cluster())

    assert resolved.target == resolved.owner == target("Deployment", "gone")


async def test_a_deleted_pod_leads_to_its_workload():
    deleted = DeletedObjects(KINDS.values(), [POD, REPLICAS, DEPLOYMENT])

    resolved = await resolve([about("Pod", "cart-7d4b-x")], deleted)

    assert resolved.target == resolved.owner == target("Deployment", "cart")


async def test_an_owner_that_was_deleted_is_named_all_the_same():
    resolved = await resolve([about("Pod", "cart-7d4b-x")], a_cluster(POD))

    assert resolved.owner == target("ReplicaSet", "cart-7d4b")


async def test_without_a_controller_the_only_owner_counts():
    pod = an_object("Pod", "cart-7d4b-x", owner=("ReplicaSet", "cart-7d4b"))
    pod["metadata"]["ownerReferences"][0]["controller"] = False

    resolved = await resolve([about("Pod", "cart-7d4b-x")], a_cluster(pod, REPLICAS, DEPLOYMENT))

    assert resolved.owner == target("Deployment", "cart")


async def test_a_cycle_of_owners_ends():
    first = an_object("ReplicaSet", "a", owner=("ReplicaSet", "b"))
    second = an_object("ReplicaSet", "b", owner=("ReplicaSet", "a"))

    resolved = await resolve([about("ReplicaSet", "a")], a_cluster(first, second))

    assert resolved.owner == target("ReplicaSet", "b")


async def test_without_a_controller_none_of_two_owners_counts():
    pod = an_object("Pod", "cart-7d4b-x", owner=("ReplicaSet", "cart-7d4b"))
    (reference,) = pod["metadata"]["ownerReferences"]
    pod["metadata"]["ownerReferences"] = [
        reference | {"controller": False},
        reference | {"uid": "2", "controller": False},
    ]

    resolved = await resolve([about("Pod", "cart-7d4b-x")], a_cluster(pod, REPLICAS, DEPLOYMENT))

    assert resolved.owner == target("Pod", "cart-7d4b-x")


async def test_a_static_pod_ends_at_itself():
    static = an_object("Pod", "etcd-n1", "kube-system", owner=("Node", "n1"))

    resolved = await resolve([about("Pod", "etcd-n1", "kube-system")], a_cluster(static, an_object("Node", "n1")))

    assert resolved.owner == target("Pod", "etcd-n1", "kube-system")


class UnreadableDeployments(ManifestReader):
    async def get(self, kind, key):
        if kind.kind == "Deployment":
            raise Unreadable("Deployment could not be read: the conversion webhook is down")
        return await super().get(kind, key)


async def test_an_owner_that_cannot_be_read_is_named_and_noted():
    resolved = await resolve(
        [about("Pod", "cart-7d4b-x")], UnreadableDeployments(KINDS.values(), [POD, REPLICAS, DEPLOYMENT])
    )

    assert resolved.owner == target("Deployment", "cart")
    assert resolved.notes == ("Deployment could not be read: the conversion webhook is down",)


async def test_a_target_that_cannot_be_read_is_the_target_and_noted():
    resolved = await resolve([about("Deployment", "cart")], UnreadableDeployments(KINDS.values(), [DEPLOYMENT]))

    assert resolved.target == resolved.owner == target("Deployment", "cart")
    assert len(resolved.notes) == 1


async def test_an_owner_of_another_group_is_another_object():
    """As Knative's Service, whose Route owns a core Service of the same name."""
    inner = an_object("Service", "hello")
    inner["metadata"]["ownerReferences"] = [
        {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "hello", "uid": "k", "controller": True}
    ]
    knative = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "hello", "namespace": "shop", "uid": "k"},
    }

    resolved = await resolve([about("Service", "hello")], a_cluster(inner, knative))

    assert (resolved.owner.api_version, resolved.owner.name) == ("serving.knative.dev/v1", "hello")


async def test_a_missing_namespace_is_filled_in_when_one_object_has_the_name():
    resolved = await resolve([about("Pod", "cart-7d4b-x", "")], a_cluster(POD, REPLICAS, DEPLOYMENT))

    assert resolved.target == target("Pod", "cart-7d4b-x")


async def test_a_missing_namespace_is_not_guessed_between_two():
    cluster = a_cluster(an_object("Pod", "db-0", "one"), an_object("Pod", "db-0", "two"))

    resolved = await resolve([about("Pod", "db-0", "")], cluster)

    assert resolved.target == target("Pod", "db-0", "")


async def test_manifests_are_read_like_a_cluster():
    cluster = a_cluster(POD)

    assert await cluster.get(KINDS["pod"], Key("shop", "cart-7d4b-x"))
    assert await cluster.get(KINDS["pod"], Key("other", "cart-7d4b-x")) is None
    assert await cluster.kind("apps/v1", "Deployment") == KINDS["deployment"]
    assert await cluster.kind("example.com/v1", "Rollout") is None
