"""Kubernetes' protobuf encoding: what it means in JSON, and that no body breaks the decoder."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pocketkube.resources import protobuf
from pocketkube.resources.builtin import builtin_resources
from pocketkube.resources.builtin_types import definition_name

CORE, META = "io.k8s.api.core.v1", "io.k8s.apimachinery.pkg.apis.meta.v1"
DEPLOYMENT = "io.k8s.api.apps.v1.Deployment"
DEFINITION = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition"


def varint(number: int) -> bytes:
    number &= 0xFFFFFFFFFFFFFFFF
    encoded = b""
    while number >= 0x80:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])


def message(*fields: tuple[int, int | bytes | str | float]) -> bytes:
    encoded = b""
    for number, value in fields:
        if isinstance(value, float):
            encoded += varint(number << 3 | 1) + struct.pack("<d", value)
        elif isinstance(value, int):
            encoded += varint(number << 3) + varint(value)
        else:
            content = value.encode() if isinstance(value, str) else value
            encoded += varint(number << 3 | 2) + varint(len(content)) + content
    return encoded


def body(content: bytes) -> bytes:
    return b"k8s\x00" + message((1, message((1, "v1"), (2, "Thing"))), (2, content), (3, ""), (4, ""))


def decoded(content: bytes, name: str):
    value = protobuf.decode_object(body(content), name)
    assert (value.pop("apiVersion"), value.pop("kind")) == ("v1", "Thing")
    return value


def test_maps_bytes_and_times():
    metadata = message(
        (1, "a"), (2, ""), (7, 0), (8, b""), (11, message((1, "k"), (2, "v"))), (9, message((1, 86_400)))
    )
    secret = message((1, metadata), (2, message((1, "x"), (2, b"\x00\xff"))), (3, "Opaque"))

    assert decoded(secret, f"{CORE}.Secret") == {
        "metadata": {"name": "a", "labels": {"k": "v"}, "deletionTimestamp": "1970-01-02T00:00:00Z"},
        "data": {"x": "AP8="},
        "type": "Opaque",
    }


def test_zero_counts_where_go_has_a_pointer():
    spec = message((1, 0), (5, 0), (6, -1))

    assert decoded(message((2, spec)), DEPLOYMENT) == {"spec": {"replicas": 0, "revisionHistoryLimit": -1}}


def test_embedded_structs_stand_in_their_parent():
    volume = message((1, "v"), (2, message((2, b""))))
    probe = message((1, message((3, message((1, message((1, 0), (2, 80))), (2, ""))))), (2, 5))
    container = message((1, "c"), (10, probe), (8, message((1, message((1, "cpu"), (2, message((1, "1"))))))))

    spec = decoded(message((2, message((1, volume), (2, container)))), f"{CORE}.Pod")["spec"]

    assert spec["volumes"] == [{"name": "v", "emptyDir": {}}]
    assert spec["containers"] == [
        {
            "name": "c",
            "livenessProbe": {"tcpSocket": {"port": 80}, "initialDelaySeconds": 5},
            "resources": {"limits": {"cpu": "1"}},
        }
    ]


def test_schemas_of_definitions():
    default = message((1, b'{"a":1}'))
    items = message((1, message((5, "string"))))
    additional = message((1, 1))
    schema = message((5, "object"), (8, default), (9, 2.5), (24, items), (30, additional), (38, 1))
    version = message((1, "v1"), (4, message((1, schema))))

    spec = decoded(message((2, message((7, version)))), DEFINITION)["spec"]

    found = spec["versions"][0]["schema"]["openAPIV3Schema"]
    assert {key: found[key] for key in ("type", "default", "maximum", "items")} == {
        "type": "object",
        "default": {"a": 1},
        "maximum": 2.5,
        "items": {"type": "string"},
    }
    assert found["x-kubernetes-preserve-unknown-fields"] is True


def test_unknown_fields_are_ignored():
    assert decoded(message((1, message((1, "a"), (900, "new"))), (901, 7)), f"{CORE}.ConfigMap") == {
        "metadata": {"name": "a"}
    }


@pytest.mark.parametrize("resource", builtin_resources(), ids=lambda resource: f"{resource.group}/{resource.kind}")
def test_every_built_in_kind_can_be_decoded(resource):
    assert protobuf.decode_object(body(message((1, message((1, "a"))))), definition_name(resource))["metadata"] == {
        "name": "a"
    }


@pytest.mark.parametrize("content", [b"", b"{}", b"k8s\x00\x0a\xff", b"k8s\x00\x0f"])
def test_malformed_bodies_are_rejected(content):
    with pytest.raises(ValueError, match=r"."):
        protobuf.decode_object(content, DEPLOYMENT)


def test_deep_nesting_is_rejected():
    schema = b""
    for _ in range(200):
        schema = message((28, schema))
    version = message((4, message((1, schema))))

    with pytest.raises(ValueError, match="nested more than"):
        protobuf.decode_object(body(message((2, message((7, version))))), DEFINITION)


@given(st.binary(max_size=60), st.sampled_from([f"{CORE}.Pod", DEPLOYMENT, DEFINITION, f"{META}.DeleteOptions"]))
def test_any_body_is_decoded_or_rejected(content, name):
    try:
        value = protobuf.decode_object(body(content), name)
    except ValueError:
        return
    json.dumps(value)
