"""A cache of a real server's objects, and a controller that works on them."""

import asyncio
from collections import Counter

import pytest

from kubernaut.kube.client import Client, ListOptions
from kubernaut.kube.controller import Controller, RequeueAfter, Result, enqueue
from kubernaut.kube.informer import Informer, InformerConfig, open_informers
from kubernaut.kube.objects import Key
from kubernaut.kube.queue import WorkQueue
from kubernaut.kube.watch import WatchConfig
from kubernaut.ops.backoff import Backoff
from support.eventually import eventually
from support.kinds import CONFIGMAP, ConfigMap, a_configmap

pytestmark = pytest.mark.kubernetes


def an_informer(client: Client, namespace: str, label_selector: str = "kube-test") -> Informer[ConfigMap]:
    config = InformerConfig(options=ListOptions(namespace=namespace, label_selector=label_selector))
    return Informer(client, CONFIGMAP, config, indexes={"colour": lambda obj: [obj.data.get("colour", "none")]})


async def test_cache_holds_existing_and_new_objects(client: Client, namespace: str):
    mine = {"kube-test": "1"}
    for number in range(5):
        await client.create(CONFIGMAP, a_configmap(namespace, f"old{number}", mine, colour="red"))
    informer = an_informer(client, namespace)

    async with open_informers(informer):
        await asyncio.wait_for(informer.synced.wait(), 10)
        assert len(informer) == 5

        await client.create(CONFIGMAP, a_configmap(namespace, "new", mine, colour="blue"))
        await client.patch(CONFIGMAP, Key(namespace, "old0"), {"data": {"colour": "blue"}})
        await client.delete(CONFIGMAP, Key(namespace, "old1"))

        await eventually(lambda: len(informer.by_index("colour", "blue")) == 2)
        await eventually(lambda: informer.get(Key(namespace, "old1")) is None)
        deleted = informer.tombstone(Key(namespace, "old1"))

    assert len(informer) == 5
    assert deleted is not None
    assert deleted.data == {"colour": "red"}


async def test_object_that_no_longer_matches_the_selector_leaves_the_cache(client: Client, namespace: str):
    await client.create(CONFIGMAP, a_configmap(namespace, "a", {"kube-test": "1"}))
    informer = an_informer(client, namespace)

    async with open_informers(informer):
        await eventually(lambda: informer.get(Key(namespace, "a")))
        await client.patch(CONFIGMAP, Key(namespace, "a"), {"metadata": {"labels": {"kube-test": None}}})
        await eventually(lambda: informer.get(Key(namespace, "a")) is None)


async def test_watches_that_end_every_second_lose_nothing(client: Client, namespace: str):
    config = InformerConfig(
        options=ListOptions(namespace=namespace, label_selector="kube-test"),
        watch=WatchConfig(timeout=1.0, backoff=Backoff(initial_delay=0.01, max_delay=0.1)),
    )
    informer = Informer(client, CONFIGMAP, config)
    observed: Counter[str] = Counter()
    informer.add_event_handler(
        lambda old, new: observed.update(["added" if old is None else "changed" if new else "deleted"])
    )

    async with open_informers(informer):
        await asyncio.wait_for(informer.synced.wait(), 10)
        loop = asyncio.get_running_loop()
        until = loop.time() + 2.5
        made = 0
        while loop.time() < until:
            await client.create(CONFIGMAP, a_configmap(namespace, f"m{made}", {"kube-test": "1"}))
            made += 1
        await eventually(lambda: len(informer) == made)

    assert observed == {"added": made}


async def test_every_object_is_reconciled_and_none_by_two_workers_at_once(client: Client, namespace: str):
    informer = an_informer(client, namespace)
    queue: WorkQueue[Key] = WorkQueue("configmaps", Backoff(initial_delay=0.01, max_delay=0.1))
    informer.add_event_handler(enqueue(queue))
    held: set[Key] = set()

    async def reconcile(key: Key) -> Result:
        assert key not in held
        held.add(key)
        try:
            found = informer.get(key)
            if found is None or "seen" in found.data:
                return None
            # A failure and a conflict on the way: both are retried.
            if queue.num_requeues(key) == 0:
                raise RuntimeError("first time always fails")
            change = {"metadata": {"resourceVersion": found.metadata.resource_version}, "data": {"seen": "yes"}}
            informer.observe(await client.patch(CONFIGMAP, key, change))
            return RequeueAfter(0.01)
        finally:
            held.discard(key)

    controller = Controller(queue, reconcile, workers=4, caches=[informer])
    async with open_informers(informer), asyncio.TaskGroup() as tasks:
        working = tasks.create_task(controller.run())
        for number in range(20):
            await client.create(CONFIGMAP, a_configmap(namespace, f"m{number}", {"kube-test": "1"}))
        await eventually(lambda: len(informer) == 20 and all("seen" in obj.data for obj in informer.list()), timeout=20)
        working.cancel()

    left = await client.list(CONFIGMAP, ListOptions(namespace=namespace, label_selector="kube-test"))
    assert all(item.data["seen"] == "yes" for item in left.items)
