"""The store: newest state, indexes, listeners, and the memory of what was deleted."""

from types import SimpleNamespace
from typing import cast

import msgspec
import pytest
from structlog.testing import capture_logs

from kubernaut.kube.client import Client
from kubernaut.kube.informer import Informer, InformerConfig
from kubernaut.kube.objects import Key, Kind, PartialObject
from kubernaut.kube.watch import Change, ChangeType

CONFIGMAP = Kind(version="v1", kind="ConfigMap", plural="configmaps", type=PartialObject)
KEY = Key("shop", "a")


def an_informer(config: InformerConfig = InformerConfig(), **more: object) -> Informer[PartialObject]:  # noqa: B008
    return Informer(cast("Client", SimpleNamespace()), CONFIGMAP, config, **more)


def a_map(name: str = "a", version: int = 1, uid: str = "", namespace: str = "shop", **labels: str) -> PartialObject:
    metadata = {"name": name, "namespace": namespace, "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    return CONFIGMAP.decode(msgspec.json.encode({"metadata": metadata | {"labels": labels}}))


def put(informer: Informer[PartialObject], *objects: PartialObject) -> None:
    for obj in objects:
        informer._take(Change(ChangeType.MODIFIED, obj))


def drop(informer: Informer[PartialObject], obj: PartialObject) -> None:
    informer._take(Change(ChangeType.DELETED, obj))


def test_newest_state_is_kept():
    informer = an_informer()
    put(informer, a_map(version=1), a_map(version=2))

    assert informer.get(KEY) == a_map(version=2)
    assert len(informer) == 1


def test_state_never_goes_back():
    informer = an_informer()
    told: list[str] = []
    informer.listen(lambda old, new: told.append(new.metadata.resource_version if new else "-"))
    put(informer, a_map(version=10), a_map(version=9), a_map(version=10))

    assert informer.get(KEY) == a_map(version=10)
    assert told == ["10"]


def test_event_from_before_our_own_write_does_not_undo_it():
    informer = an_informer()
    put(informer, a_map(version=1))
    informer.observe(a_map(version=5, phase="done"))
    put(informer, a_map(version=3))

    assert informer.get(KEY) == a_map(version=5, phase="done")


def test_answer_to_a_write_does_not_bring_a_deleted_object_back():
    informer = an_informer()
    put(informer, a_map(version=1))
    drop(informer, a_map(version=6))
    informer.observe(a_map(version=5))

    assert informer.get(KEY) is None


def test_late_event_of_an_earlier_object_of_that_name_is_ignored():
    informer = an_informer()
    informer.observe(a_map(version=12, uid="new"))
    put(informer, a_map(version=10, uid="old"))
    drop(informer, a_map(version=11, uid="old"))

    assert informer.get(KEY) == a_map(version=12, uid="new")


def test_index_follows_every_change():
    informer = an_informer(indexes={"app": lambda obj: obj.metadata.labels.values()})
    put(informer, a_map("a", app="api"), a_map("b", app="api"), a_map("c", app="web"))
    assert [obj.metadata.name for obj in informer.by_index("app", "api")] == ["a", "b"]

    put(informer, a_map("a", 2, app="web"))
    drop(informer, a_map("b", 3, app="api"))

    assert informer.by_index("app", "api") == []
    assert [obj.metadata.name for obj in informer.by_index("app", "web")] == ["c", "a"]
    assert list(informer._indexes["app"]) == ["web"]


def test_unknown_index_is_a_mistake():
    with pytest.raises(KeyError, match="nope"):
        an_informer().by_index("nope", "x")


def test_listener_hears_additions_changes_and_deletions():
    informer = an_informer()
    told: list[tuple[str | None, str | None]] = []
    informer.listen(
        lambda old, new: told.append(
            (old.metadata.resource_version if old else None, new.metadata.resource_version if new else None)
        )
    )
    put(informer, a_map(version=1), a_map(version=2))
    drop(informer, a_map(version=3))
    drop(informer, a_map(version=3))

    assert told == [(None, "1"), ("1", "2"), ("2", None)]


def test_late_listener_is_told_what_there_is():
    informer = an_informer()
    put(informer, a_map("a"), a_map("b"))
    told: list[str] = []
    informer.listen(lambda old, new: told.append(new.metadata.name if new else "-"))

    assert told == ["a", "b"]


def test_failing_listener_stops_nobody():
    informer = an_informer()
    told: list[object] = []

    def fails(old: object, new: object) -> None:
        raise RuntimeError("mistake")

    informer.listen(fails)
    informer.listen(lambda old, new: told.append(new))
    with capture_logs() as logs:
        put(informer, a_map())

    assert told == [a_map()]
    assert [line["event"] for line in logs] == ["a listener failed"]


def test_transform_is_applied_before_anything_is_kept():
    bare = msgspec.structs.replace
    informer = an_informer(transform=lambda obj: bare(obj, metadata=bare(obj.metadata, labels={})))
    informer.observe(a_map(app="api"))

    assert informer.get(KEY) == a_map()


def test_list_can_be_limited_to_a_namespace():
    informer = an_informer()
    put(informer, a_map("a"), a_map("b", namespace="other"))

    assert informer.list("other") == [a_map("b", namespace="other")]
    assert len(informer.list()) == 2


def test_deleted_object_can_be_asked_for_until_it_exists_again():
    informer = an_informer()
    put(informer, a_map(version=1))
    drop(informer, a_map(version=2))
    assert informer.deleted(KEY) == a_map(version=2)

    put(informer, a_map(version=3, uid="new"))

    assert informer.deleted(KEY) is None


def test_deleted_objects_are_forgotten_after_their_time():
    informer = an_informer(InformerConfig(deleted_for=0.0))
    put(informer, a_map())
    drop(informer, a_map(version=2))

    assert informer.deleted(KEY) is None


def test_only_so_many_deleted_objects_are_held():
    informer = an_informer(InformerConfig(deleted_most=3))
    for number in range(10):
        put(informer, a_map(f"m{number}"))
        drop(informer, a_map(f"m{number}", 2))

    assert [key.name for key in informer._deleted] == ["m7", "m8", "m9"]


def test_synced_is_said_once_everything_is_there():
    informer = an_informer()
    put(informer, a_map())
    assert not informer.synced.is_set()

    with capture_logs():
        informer._take(Change(ChangeType.SYNCED, None))

    assert informer.synced.is_set()
