"""What may change in the spec of a signal: nothing, except what a typed client of Go cannot keep."""

import copy
import itertools
import os
import uuid
from typing import Any

import pytest

from kubernaut.api.crds import structural_schema
from kubernaut.api.signals import GROUP, KIND, PLURAL, VERSION, SignalSpec
from kubernaut.kube.client import Client, ClientConfig, open_client
from kubernaut.kube.errors import Invalid
from kubernaut.kube.objects import Key, Kind, Unstructured
from support.kinds import NAMESPACE

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.skipif(
        "1.20" in os.environ.get("KUBEBUILDER_ASSETS", ""), reason="kube-apiserver 1.20 drops CEL rules silently"
    ),
]

SIGNAL: Kind[Unstructured] = Kind(group=GROUP, version=VERSION, kind=KIND, plural=PLURAL, type=dict)
SPEC: dict[str, Any] = {
    "remediationRequestRef": {"name": "rr-1", "kind": "RemediationRequest", "namespace": "home", "uid": "1"},
    "timesOutAt": "2026-11-29T20:00:00.5Z",
    "signal": {
        "fingerprint": "a" * 64,
        "name": "A",
        "severity": "critical",
        "type": "alert",
        "source": "prometheus",
        "targetType": "kubernetes",
        "targetResource": {"kind": "Node", "name": "n1", "apiVersion": "v1"},
        "labels": {"node": "n1"},
        "annotations": {"summary": "s"},
        "firingTime": "2026-11-29T19:00:00.123456Z",
        "receivedTime": "2026-11-29T19:00:01.654321Z",
        "clusterID": "eu-1",
        "providerData": "{}",
    },
}


@pytest.fixture
async def client(kubernetes_with_crds):
    async with open_client(ClientConfig(kubeconfig=kubernetes_with_crds, field_manager="test")) as opened:
        yield opened


@pytest.fixture
async def stored(client: Client):
    name = f"immutable-{uuid.uuid4().hex[:8]}"
    await client.create(NAMESPACE, {"metadata": {"name": name}})
    yield await client.create(SIGNAL, {"metadata": {"name": "s", "namespace": name}, "spec": SPEC})
    await client.delete(NAMESPACE, Key("", name))


async def test_what_a_typed_client_of_go_reads_it_may_write_back(client, stored):
    written = copy.deepcopy(stored)
    spec = written["spec"]
    spec["timesOutAt"] = "2026-11-29T20:00:00Z"
    spec["signal"] |= {"firingTime": "2026-11-29T19:00:00Z", "receivedTime": "2026-11-29T19:00:01Z"}
    spec["signal"]["targetResource"]["namespace"] = ""
    written["metadata"]["labels"] = {"seen": "true"}

    assert (await client.replace(SIGNAL, written))["spec"]["signal"]["receivedTime"] == "2026-11-29T19:00:01Z"


TIMES = {("timesOutAt",), ("signal", "firingTime"), ("signal", "receivedTime")}
SUBSETS = [subset for size in range(len(TIMES) + 1) for subset in itertools.combinations(sorted(TIMES), size)]


def test_the_family_of_times_is_the_one_of_the_schema():
    schema = structural_schema(SignalSpec)
    found = {
        (*at, name)
        for at, of in (((), schema), (("signal",), schema["properties"]["signal"]))
        for name, inner in of["properties"].items()
        if inner.get("format") == "date-time"
    }

    assert found == TIMES


@pytest.mark.parametrize("truncated", SUBSETS, ids=str)
async def test_any_time_may_be_written_back_in_whole_seconds(client, stored, truncated):
    written = copy.deepcopy(stored)
    for *parents, name in truncated:
        holder = written["spec"]
        for parent in parents:
            holder = holder[parent]
        holder[name] = f"{holder[name].partition('.')[0]}Z"
    written["metadata"]["labels"] = {"seen": "true"}

    again = await client.replace(SIGNAL, written)

    assert (again["spec"], again["metadata"]["generation"]) == (written["spec"], 1 + bool(truncated))


def paths(value: dict[str, Any], at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    return [
        path
        for name, inner in value.items()
        for path in (paths(inner, (*at, name)) if isinstance(inner, dict) else [(*at, name)])
    ]


CHANGED = {"timesOutAt": "2026-11-29T20:00:01Z", "firingTime": "2026-11-29T19:00:01Z", "targetType": "aws"}


@pytest.mark.parametrize("path", paths(SPEC), ids=".".join)
async def test_no_field_of_the_spec_can_be_changed(client, stored, path):
    change: dict[str, Any] = {path[-1]: CHANGED.get(path[-1], "b" * 64 if path[-1] == "fingerprint" else "other")}
    if path[-1] == "receivedTime":
        change = {path[-1]: "2026-11-29T19:00:02Z"}
    for name in reversed(path[:-1]):
        change = {name: change}

    with pytest.raises(Invalid, match="immutable"):
        await client.patch(SIGNAL, Key(stored["metadata"]["namespace"], "s"), {"spec": change})


async def test_nothing_can_be_added_to_the_spec(client, stored):
    key = Key(stored["metadata"]["namespace"], "s")

    for change in ({"enrichmentConfig": {"timeout": "5s"}}, {"signal": {"labels": {"more": "x"}}}):
        with pytest.raises(Invalid, match="immutable"):
            await client.patch(SIGNAL, key, {"spec": change})
