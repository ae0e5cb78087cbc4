"""The store: newest state, indexes, event handlers and tombstones."""

from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from kubernaut.kube.client import Client
from kubernaut.kube.informer import Informer, InformerConfig
from kubernaut.kube.objects import Key, Kind, PartialObjectMetadata
from kubernaut.kube.watch import Delta, DeltaType
from support.logs import capture_logs

CONFIGMAP = Kind(version="v1", kind="ConfigMap", plural="configmaps", type=PartialObjectMetadata)
KEY = Key("shop", "a")


def an_informer(config: InformerConfig = InformerConfig(), **more: object) -> Informer[PartialObjectMetadata]:  # noqa: B008
    return Informer(cast("Client", SimpleNamespace()), CONFIGMAP, config, **more)


def a_map(
    name: str = "a", version: int = 1, uid: str = "", namespace: str = "shop", **labels: str
) -> PartialObjectMetadata:
    metadata = {"name": name, "namespace": namespace, "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    return CONFIGMAP.decode(msgspec.json.encode({"metadata": metadata | {"labels": labels}}))


def put(informer: Informer[PartialObjectMetadata], *objects: PartialObjectMetadata) -> None:
    for obj in objects:
        informer._process(Delta(DeltaType.MODIFIED, obj))


def drop(informer: Informer[PartialObjectMetadata], obj: PartialObjectMetadata) -> None:
    informer._process(Delta(DeltaType.DELETED, obj))


def test_newest_state_is_kept():
    informer = an_informer()
    put(informer, a_map(version=1), a_map(version=2))

    assert informer.get(KEY) == a_map(version=2)
    assert len(informer) == 1


def test_state_never_goes_back():
    informer = an_informer()
    seen: list[str] = []
    informer.add_event_handler(lambda old, new: seen.append(new.metadata.resource_version if new else "-"))
    put(informer, a_map(version=10), a_map(version=9), a_map(version=10))

    assert informer.get(KEY) == a_map(version=10)
    assert seen == ["10"]


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


def test_unknown_index_raises():
    with pytest.raises(KeyError, match="nope"):
        an_informer().by_index("nope", "x")


def test_event_handler_is_called_for_additions_changes_and_deletions():
    informer = an_informer()
    seen: list[tuple[str | None, str | None]] = []
    informer.add_event_handler(
        lambda old, new: seen.append(
            (old.metadata.resource_version if old else None, new.metadata.resource_version if new else None)
        )
    )
    put(informer, a_map(version=1), a_map(version=2))
    drop(informer, a_map(version=3))
    drop(informer, a_map(version=3))

    assert seen == [(None, "1"), ("1", "2"), ("2", None)]


def test_late_event_handler_is_called_for_stored_objects():
    informer = an_informer()
    put(informer, a_map("a"), a_map("b"))
    seen: list[str] = []
    informer.add_event_handler(lambda old, new: seen.append(new.metadata.name if new else "-"))

    assert seen == ["a", "b"]


def test_failing_event_handler_does_not_affect_others():
    informer = an_informer()
    seen: list[object] = []

    def fails(old: object, new: object) -> None:
        raise RuntimeError("mistake")

    informer.add_event_handler(fails)
    informer.add_event_handler(lambda old, new: seen.append(new))
    with capture_logs() as logs:
        put(informer, a_map())

    assert seen == [a_map()]
    assert [line["event"] for line in logs] == ["event handler failed"]


def test_transform_is_applied_before_anything_is_stored():
    bare = msgspec.structs.replace
    informer = an_informer(transform=lambda obj: bare(obj, metadata=bare(obj.metadata, labels={})))
    informer.observe(a_map(app="api"))

    assert informer.get(KEY) == a_map()


def test_list_can_be_limited_to_a_namespace():
    informer = an_informer()
    put(informer, a_map("a"), a_map("b", namespace="other"))

    assert informer.list("other") == [a_map("b", namespace="other")]
    assert len(informer.list()) == 2


def test_tombstone_is_kept_until_the_object_exists_again():
    informer = an_informer()
    put(informer, a_map(version=1))
    drop(informer, a_map(version=2))
    assert informer.tombstone(KEY) == a_map(version=2)

    put(informer, a_map(version=3, uid="new"))

    assert informer.tombstone(KEY) is None


def test_tombstones_expire():
    informer = an_informer(InformerConfig(tombstone_ttl=0.0))
    put(informer, a_map())
    drop(informer, a_map(version=2))

    assert informer.tombstone(KEY) is None


@pytest.mark.requirement("LESSON-21")
def test_tombstones_are_bounded():
    informer = an_informer(InformerConfig(max_tombstones=3))
    for number in range(10):
        put(informer, a_map(f"m{number}"))
        drop(informer, a_map(f"m{number}", 2))

    assert [key.name for key in informer._tombstones] == ["m7", "m8", "m9"]


def test_synced_is_set_after_the_first_list():
    informer = an_informer()
    put(informer, a_map())
    assert not informer.synced.is_set()

    with capture_logs():
        informer._process(Delta(DeltaType.SYNCED, None))

    assert informer.synced.is_set()
