"""A real control plane from a folder: its kubeconfig, its end, its second start."""

import os
import stat
from pathlib import Path

import pytest

from kubernaut.embedded.controlplane import open_servers
from kubernaut.kube.client import ClientConfig, open_client
from kubernaut.kube.objects import Key, Kind, Unstructured
from support.processes import is_gone

NAMESPACE = Kind(group="", version="v1", kind="Namespace", plural="namespaces", namespaced=False, type=Unstructured)

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.skipif("KUBEBUILDER_ASSETS" not in os.environ, reason="needs the folder KUBEBUILDER_ASSETS"),
]


@pytest.fixture
def assets():
    return Path(os.environ["KUBEBUILDER_ASSETS"])


async def test_objects_are_there_again_at_the_second_start(assets, tmp_path):
    async with open_servers(assets, tmp_path) as first, open_client(a_config(first)) as client:
        await client.create(NAMESPACE, {"metadata": {"name": "kept"}})
    assert all(is_gone(process.pid) for process in first.processes)

    async with open_servers(assets, tmp_path, port=first.port) as again, open_client(a_config(again)) as client:
        found = await client.get(NAMESPACE, Key("", "kept"))

    assert found["metadata"]["name"] == "kept"
    assert again.kubeconfig.read_text().count(str(first.port)) == 1


async def test_secrets_are_closed_to_others_however_long_the_path_is(assets, tmp_path):
    place = tmp_path / ("x" * 100) / "y"
    async with open_servers(assets, place, durable=False) as servers:
        modes = {stat.S_IMODE((place / name).stat().st_mode) for name in ("kubeconfig", "token", "tokens.csv")}

    assert modes == {0o600}
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert all(is_gone(process.pid) for process in servers.processes)


def a_config(servers):
    return ClientConfig(kubeconfig=servers.kubeconfig)
