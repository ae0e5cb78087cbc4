"""What the gateway makes of objects that the API server cannot read: none of them keeps an alert waiting."""

from collections import Counter
from pathlib import Path

import pytest

from kubernaut.gateway import cluster
from kubernaut.gateway.cluster import ClusterReader, new_caches
from kubernaut.gateway.labels import DEFAULT_LABELS, subject_of
from kubernaut.gateway.targets import Unreadable, resolve
from kubernaut.kube.client import ClientConfig, open_client
from kubernaut.kube.discovery import Discovery
from kubernaut.kube.errors import ApiServerUnreachable
from kubernaut.kube.objects import Key, Kind, PartialObjectMetadata
from support.logs import capture_logs
from support.scripted_api import Call, open_scripted_api

CLAIM = Kind(version="v1", kind="PersistentVolumeClaim", plural="persistentvolumeclaims", type=PartialObjectMetadata)
POD = Kind(version="v1", kind="Pod", plural="pods", type=PartialObjectMetadata)
OWNED = {
    "metadata": {
        "name": "cart-1",
        "namespace": "shop",
        "uid": "1",
        "ownerReferences": [
            {"apiVersion": "example.com/v1", "kind": "Session", "name": "s1", "uid": "2", "controller": True}
        ],
    }
}


class Server:
    """Serves one pod, whose owner is of a kind that cannot be read, and no claim."""

    def __init__(self, failure: str = "") -> None:
        self.failure = failure
        self.asked: Counter[str] = Counter()

    async def __call__(self, call: Call) -> None:
        kind = call.path.split("/")[-2] if "namespaces" in call.path else call.path
        self.asked[kind] += 1
        if call.path == "/apis/example.com/v1":
            verbs = {"singularName": "session", "verbs": ["get"]}
            await call.respond({"resources": [{"name": "sessions", "kind": "Session", "namespaced": True, **verbs}]})
        elif call.path == "/apis":
            await call.respond({"groups": []})
        elif call.path == "/api/v1":
            await call.respond({"resources": []})
        elif kind == "pods":
            await call.respond(OWNED)
        elif self.failure == "hangs":
            await call.stay_idle()
        elif self.failure == "forbidden":
            await call.reject(403, "Forbidden", "not permitted")
        elif self.failure == "conversion webhook":
            await call.reject(500, "InternalError", "conversion webhook failed")
        else:
            await call.reject(404, "NotFound", "not found")


@pytest.mark.parametrize("failure", ["hangs", "forbidden", "conversion webhook"])
async def test_what_cannot_be_read_is_noted_and_not_asked_for_again_at_once(tmp_path: Path, monkeypatch, failure):
    monkeypatch.setattr(cluster, "READ_TIMEOUT", 1.0)
    server = Server(failure)
    async with open_scripted_api(server, tmp_path) as file, open_client(ClientConfig(kubeconfig=file)) as client:
        reader = ClusterReader(client, Discovery(client), [])
        for _ in range(3):
            with pytest.raises(Unreadable, match="PersistentVolumeClaim could not be read"):
                await reader.get(CLAIM, Key("shop", "data"))

        resolved = await resolve(
            subject_of({"namespace": "shop", "pvc": "data", "pod": "cart-1"}, DEFAULT_LABELS), reader
        )

    assert server.asked["persistentvolumeclaims"] == 1
    assert (resolved.target.kind, resolved.owner.kind, resolved.owner.name) == ("Pod", "Session", "s1")
    assert len(resolved.notes) == 1
    assert "Session could not be read" in resolved.notes[0]


async def test_an_object_that_is_gone_is_no_failure(tmp_path: Path):
    async with open_scripted_api(Server(), tmp_path) as file, open_client(ClientConfig(kubeconfig=file)) as client:
        reader = ClusterReader(client, Discovery(client), [])

        assert await reader.get(CLAIM, Key("shop", "data")) is None


async def test_an_api_server_that_accepts_no_connection_is_an_error_because_nothing_can_be_stored(tmp_path: Path):
    async with open_scripted_api(Server(), tmp_path) as file:
        pass
    async with open_client(ClientConfig(kubeconfig=file)) as client:
        reader = ClusterReader(client, Discovery(client), [])

        with pytest.raises(ApiServerUnreachable):
            await reader.get(CLAIM, Key("shop", "data"))


async def test_kinds_that_may_not_be_listed_are_not_cached(tmp_path: Path):
    async def script(call: Call) -> None:
        if call.path.endswith("/nodes"):
            await call.reject(403, "Forbidden", "not permitted")
        else:
            await call.respond({"metadata": {"resourceVersion": "1"}, "items": []})

    with capture_logs() as logs:
        async with open_scripted_api(script, tmp_path) as file, open_client(ClientConfig(kubeconfig=file)) as client:
            caches = await new_caches(client)

    assert "nodes" not in [str(cache.kind) for cache in caches]
    assert [(line["event"], line["kinds"]) for line in logs] == [("list access denied for some kinds", ["nodes"])]
