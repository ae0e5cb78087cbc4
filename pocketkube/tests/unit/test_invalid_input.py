"""Whatever a client sends, the response is a 4xx or an object, never a failure of the server."""

import asyncio
import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pocketkube.codec import encode
from pocketkube.operations.requests import Options
from pocketkube.operations.writer import Writer
from pocketkube.patch import patches
from pocketkube.resources import crds
from pocketkube.resources.builtin import builtin_resources
from pocketkube.resources.registry import Registry
from pocketkube.status import ApiError
from pocketkube.storage.persistence import SqliteBackend
from pocketkube.storage.store import Store

INVALID = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "name", "$patch"]), inner),
    max_leaves=4,
)
NAMES = st.sampled_from(
    ["spec", "metadata", "name", "labels", "managedFields", "$patch", "$retainKeys", "type", "items"]
)

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "x",
        "labels": {"a": "b"},
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "o", "uid": "u"}],
        "managedFields": [{"manager": "m", "operation": "Update", "fieldsV1": {"f:spec": {"f:nodeName": {}}}}],
    },
    "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]},
    "status": {"phase": "Running"},
}
SPEC = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z]+$", "default": "x"},
        "rows": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}}},
        },
        "max": {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]},
    },
}
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "things.invalid.test"},
    "spec": {
        "group": "invalid.test",
        "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": SPEC}}},
            }
        ],
    },
}
THING = {
    "apiVersion": "invalid.test/v1",
    "kind": "Thing",
    "metadata": {"name": "x"},
    "spec": {"name": "ok", "rows": [{"k": "a"}], "max": 3},
}
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "stringData": {"a": "b"}}
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
PATCHES = (patches.MERGE_PATCH, patches.STRATEGIC_PATCH, patches.JSON_PATCH, patches.APPLY_PATCH)


@st.composite
def corrupted(draw, value: Any) -> Any:
    """The value with one or two parts of it replaced by something else."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 2))):
        place = value
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if isinstance(place, dict) and (not keys or draw(st.integers(0, 9)) == 0):
                place[draw(NAMES)] = draw(INVALID)
                break
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if not isinstance(place[key], (dict, list)) or draw(st.integers(0, 3)) == 0:
                place[key] = draw(INVALID)
                break
            place = place[key]
    return value


class Server:
    """A writer on a store of its own."""

    def __init__(self) -> None:
        self.store = Store(SqliteBackend(":memory:"))
        self.registry = Registry(builtin_resources())
        for resource in crds.served_resources(copy.deepcopy(DEFINITION)):
            self.registry.add(resource)
        self.writer = Writer(self.store, self.registry)
        self.options = Options(manager="m")
        for value in (NAMESPACE, POD, SECRET, THING):
            self.create(value)

    def create(self, value: Any) -> None:
        resource = self.registry.for_kind(value["apiVersion"], value["kind"])
        namespace = "default" if resource.namespaced else None
        self.writer.create(resource, namespace, copy.deepcopy(value), self.options)


def attempt(call, *arguments: Any) -> None:
    try:
        call(*arguments)
    except ApiError as refused:
        assert refused.code < 500 or not refused.reason, refused.message


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_invalid_input_is_rejected_or_accepted(data):
    original = data.draw(st.sampled_from([POD, SECRET, THING, DEFINITION, NAMESPACE]))
    value = data.draw(corrupted(original))
    strict = Options(manager="m", validation="Strict", dry_run=data.draw(st.booleans()))

    async def send() -> None:
        server = Server()
        resource = server.registry.for_kind(original["apiVersion"], original["kind"])
        key = ("default" if resource.namespaced else "", original["metadata"]["name"])
        attempt(server.writer.create, resource, key[0] or None, copy.deepcopy(value), strict)
        if original is DEFINITION:
            attempt(server.create, DEFINITION)
        for subresource in ("", "status"):
            attempt(server.writer.replace, resource, key, subresource, copy.deepcopy(value), server.options)
            for kind in PATCHES:
                attempt(patch, server, resource, key, subresource, kind)
        server.store.commit()
        server.store.close()

    def patch(server: Server, resource: Any, key: Any, subresource: str, kind: str) -> None:
        body = encode([value] if kind == patches.JSON_PATCH else value)
        if kind == patches.APPLY_PATCH:
            config = patches.parse_apply_configuration(body)
            server.writer.apply(resource, key, subresource, config, server.options)
        else:
            change = patches.parse_patch(resource, kind, body)
            server.writer.change(resource, key, subresource, change, server.options)

    asyncio.run(send())


OPERATIONS = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "jump"]),
        "path": st.sampled_from(["", "/", "/spec", "/spec/containers/0", "/spec/containers/-", "/metadata/name", "x"]),
    },
    optional={"value": INVALID, "from": st.sampled_from(["/spec", "/nope", ""])},
)


@settings(max_examples=100, deadline=None)
@given(st.lists(OPERATIONS | INVALID, max_size=3))
def test_invalid_operations_are_rejected_or_accepted(operations):
    async def send() -> None:
        server = Server()
        resource = server.registry.for_kind("v1", "Pod")

        def patch() -> None:
            change = patches.parse_patch(resource, patches.JSON_PATCH, encode(operations))
            server.writer.change(resource, ("default", "x"), "", change, server.options)

        attempt(patch)
        server.store.commit()
        server.store.close()

    asyncio.run(send())
