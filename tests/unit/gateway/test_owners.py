from kubernaut.api.signals import Target
from kubernaut.gateway.alertmanager import Candidate
from kubernaut.gateway.owners import Manifests, find
from kubernaut.kube.objects import Key, PartialObjectMetadata
from support.gateway import KINDS, a_cluster, an_object

POD = an_object("Pod", "cart-7d4b-x", owner=("ReplicaSet", "cart-7d4b"))
REPLICAS = an_object("ReplicaSet", "cart-7d4b", owner=("Deployment", "cart"))
DEPLOYMENT = an_object("Deployment", "cart")


def about(kind: str, name: str, namespace: str = "shop") -> Candidate:
    return Candidate(kind=KINDS[kind.lower()], name=name, namespace=namespace)


def target(kind: str, name: str, namespace: str = "shop") -> Target:
    return Target(kind=kind, name=name, namespace=namespace)


class WithMemory(Manifests):
    """A cluster that remembers every object given to it, although none exists."""

    async def get(self, kind, key):
        return None

    def remembered(self, kind, key) -> PartialObjectMetadata | None:
        return self._objects.get((kind.api_version, kind.kind), {}).get(key)


async def test_the_owner_is_at_the_top_of_the_chain():
    found = await find([about("Pod", "cart-7d4b-x")], a_cluster(POD, REPLICAS, DEPLOYMENT))

    assert found.target == target("Pod", "cart-7d4b-x")
    assert found.owner == target("Deployment", "cart")


async def test_the_first_candidate_that_exists_wins():
    found = await find([about("Deployment", "gone"), about("Pod", "cart-7d4b-x")], a_cluster(POD, REPLICAS, DEPLOYMENT))

    assert found.target == target("Pod", "cart-7d4b-x")


async def test_when_none_exists_the_first_is_the_target_and_its_own_owner():
    found = await find([about("Deployment", "gone"), about("Pod", "gone-x")], a_cluster())

    assert found.target == found.owner == target("Deployment", "gone")


async def test_a_deleted_pod_leads_to_the_workload_that_it_belonged_to():
    remembering = WithMemory(KINDS.values(), [POD, REPLICAS, DEPLOYMENT])

    found = await find([about("Pod", "cart-7d4b-x")], remembering)

    assert found.target == found.owner == target("Deployment", "cart")


async def test_an_owner_that_is_gone_is_named_all_the_same():
    found = await find([about("Pod", "cart-7d4b-x")], a_cluster(POD))

    assert found.owner == target("ReplicaSet", "cart-7d4b")


async def test_owners_in_a_circle_end():
    first = an_object("ReplicaSet", "a", owner=("ReplicaSet", "b"))
    second = an_object("ReplicaSet", "b", owner=("ReplicaSet", "a"))

    found = await find([about("ReplicaSet", "a")], a_cluster(first, second))

    assert found.owner == target("ReplicaSet", "b")


async def test_a_cluster_scoped_owner_has_no_namespace():
    static = an_object("Pod", "etcd-n1", "kube-system", owner=("Node", "n1"))

    found = await find([about("Pod", "etcd-n1", "kube-system")], a_cluster(static, an_object("Node", "n1")))

    assert found.owner == target("Node", "n1", "")


async def test_a_missing_namespace_is_found_when_one_object_has_the_name():
    found = await find([about("Pod", "cart-7d4b-x", "")], a_cluster(POD, REPLICAS, DEPLOYMENT))

    assert found.target == target("Pod", "cart-7d4b-x")


async def test_a_missing_namespace_is_not_guessed_between_two():
    cluster = a_cluster(an_object("Pod", "db-0", "one"), an_object("Pod", "db-0", "two"))

    found = await find([about("Pod", "db-0", "")], cluster)

    assert found.target == target("Pod", "db-0", "")


async def test_manifests_answer_like_a_cluster():
    cluster = a_cluster(POD)

    assert await cluster.get(KINDS["pod"], Key("shop", "cart-7d4b-x"))
    assert await cluster.get(KINDS["pod"], Key("other", "cart-7d4b-x")) is None
    assert await cluster.kind("apps/v1", "Deployment") == KINDS["deployment"]
    assert await cluster.kind("example.com/v1", "Rollout") is None
