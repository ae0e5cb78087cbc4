"""A cache across crashes of the API server: nothing is lost, nothing vanishes unnoticed."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from kubernaut.embedded.controlplane import find_assets, open_servers
from kubernaut.embedded.kubernetes import pocketkube
from kubernaut.embedded.process import Process, open_process
from kubernaut.kube.client import Client, ClientConfig, ListOptions, open_client
from kubernaut.kube.errors import AlreadyExists, KubeError, NotFound
from kubernaut.kube.informer import Informer, InformerConfig, open_informers
from kubernaut.kube.objects import Key
from kubernaut.kube.watch import WatchConfig
from kubernaut.ops.backoff import Backoff
from support.eventually import eventually
from support.kinds import CONFIGMAP, ConfigMap, a_configmap

pytestmark = pytest.mark.kubernetes

SELECTION = ListOptions(namespace="default", label_selector="kube-test")


@dataclass(frozen=True)
class Api:
    kubeconfig: Path
    port: int
    """0 where the server finds its own port again."""
    processes: tuple[Process, ...]

    async def kill(self) -> None:
        for process in self.processes:
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()


@asynccontextmanager
async def open_api(directory: Path, port: int = 0) -> AsyncIterator[Api]:
    """The same server on a directory each time: a real one where there is one, else the embedded one."""
    assets = find_assets({name: value for name, value in os.environ.items() if name == "KUBEBUILDER_ASSETS"})
    if assets is not None:
        async with open_servers(assets, directory, port=port) as servers:
            yield Api(servers.kubeconfig, servers.port, servers.processes)
        return
    async with open_process(pocketkube(directory, directory.parent / "api.log")) as process:
        yield Api(directory / "kubeconfig", 0, (process,))


async def insist(client: Client, name: str) -> None:
    """Create an object however often the server dies meanwhile."""
    async with asyncio.timeout(60):
        while True:
            try:
                await client.create(CONFIGMAP, a_configmap("default", name, {"kube-test": "1"}))
            except AlreadyExists:
                return
            except KubeError:
                await asyncio.sleep(0.02)
            else:
                return


def an_informer(client: Client) -> Informer[ConfigMap]:
    quick = WatchConfig(backoff=Backoff(initial_delay=0.02, max_delay=0.2))
    return Informer(client, CONFIGMAP, InformerConfig(options=SELECTION, watch=quick))


async def test_nothing_is_lost_across_kill_9_of_the_server(own_directory: Path):
    data = own_directory / "kubernetes"
    replayed: dict[Key, str] = {}

    def replay(old: ConfigMap | None, new: ConfigMap | None) -> None:
        if new is None:
            assert old is not None
            del replayed[Key(old.metadata.namespace, old.metadata.name)]
        else:
            replayed[Key(new.metadata.namespace, new.metadata.name)] = new.metadata.resource_version

    async def write(client: Client) -> None:
        for number in range(100):
            await insist(client, f"m{number}")
            if number % 10 == 5:
                with suppress(KubeError):
                    await client.delete(CONFIGMAP, Key("default", f"m{number - 5}"))

    async with open_api(data) as first:
        config = ClientConfig(kubeconfig=first.kubeconfig, timeout=5.0)
        async with open_client(config) as client, asyncio.TaskGroup() as tasks:
            informer = an_informer(client)
            informer.add_event_handler(replay)
            async with open_informers(informer):
                await asyncio.wait_for(informer.synced.wait(), 10)
                writing = tasks.create_task(write(client))
                await eventually(lambda: len(informer) >= 30)
                await first.kill()
                async with open_api(data, first.port):
                    await writing
                    truth = {
                        Key(item.metadata.namespace, item.metadata.name): item.metadata.resource_version
                        for item in (await client.list(CONFIGMAP, SELECTION)).items
                    }
                    await eventually(lambda: replayed == truth)

                    assert len(truth) >= 90
                    assert {key: informer.get(key).metadata.resource_version for key in truth} == truth


async def test_object_deleted_between_two_watches_is_reported(own_directory: Path):
    data = own_directory / "kubernetes"
    async with open_api(data) as first:
        config = ClientConfig(kubeconfig=first.kubeconfig, timeout=5.0)
        async with open_client(config) as client:
            informer = an_informer(client)
            deleted: list[str] = []
            informer.add_event_handler(lambda old, new: deleted.append(old.metadata.name) if new is None else None)
            await insist(client, "stays")
            await insist(client, "goes")
            async with open_informers(informer):
                await asyncio.wait_for(informer.synced.wait(), 10)
                await first.kill()
                async with open_api(data, first.port):
                    await _delete(client, "goes")
                    await insist(client, "comes")
                    await eventually(lambda: informer.get(Key("default", "comes")))
                    await eventually(lambda: deleted == ["goes"])

                assert informer.get(Key("default", "stays"))


async def _delete(client: Client, name: str) -> None:
    with suppress(NotFound):
        await client.delete(CONFIGMAP, Key("default", name))
