"""The client on a bad network and with slow or odd servers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from kubernaut.kube.client import Client, ClientConfig, open_client
from kubernaut.kube.errors import ApiServerUnreachable, IdleTimeout, KubeError, TimedOut, TooManyRequests
from kubernaut.kube.objects import Key, Kind, PartialObjectMetadata
from support.scripted_api import Call, Script, a_listing, an_object, open_scripted_api

CONFIGMAP = Kind(version="v1", kind="ConfigMap", plural="configmaps", type=PartialObjectMetadata)
KEY = Key("shop", "a")


@asynccontextmanager
async def against(script: Script, directory: Path) -> AsyncIterator[Client]:
    async with (
        open_scripted_api(script, directory) as kubeconfig,
        open_client(ClientConfig(kubeconfig=kubeconfig, timeout=0.3)) as client,
    ):
        yield client


async def test_read_on_a_broken_connection_is_retried(tmp_path: Path):
    calls = 0

    async def script(call: Call) -> None:
        nonlocal calls
        calls += 1
        if calls < 3:
            return call.abort()
        return await call.respond(an_object())

    async with against(script, tmp_path) as client:
        assert (await client.get(CONFIGMAP, KEY)).metadata.name == "a"

    assert calls == 3


async def test_write_on_a_broken_connection_is_not_retried(tmp_path: Path):
    calls = 0

    async def script(call: Call) -> None:
        nonlocal calls
        calls += 1
        call.abort()

    async with against(script, tmp_path) as client:
        with pytest.raises(ApiServerUnreachable):
            await client.patch(CONFIGMAP, KEY, {"data": {"x": "y"}})

    assert calls == 1


async def test_rejection_is_not_retried(tmp_path: Path):
    calls = 0

    async def script(call: Call) -> None:
        nonlocal calls
        calls += 1
        await call.reject(429, "TooManyRequests", retry_after="2")

    async with against(script, tmp_path) as client:
        with pytest.raises(TooManyRequests) as raised:
            await client.get(CONFIGMAP, KEY)

    assert (calls, raised.value.retry_after) == (1, 2)


async def test_server_that_does_not_respond_times_out(tmp_path: Path):
    async def script(call: Call) -> None:
        await call.stay_idle()

    async with against(script, tmp_path) as client:
        with pytest.raises(TimedOut):
            await client.get(CONFIGMAP, KEY)
        with pytest.raises(TimedOut) as raised:
            async with aclosing(client.watch(CONFIGMAP, "1", idle_timeout=60)) as events:
                await anext(events)
        assert not isinstance(raised.value, IdleTimeout)


async def test_watch_on_which_nothing_arrives_times_out(tmp_path: Path):
    async def script(call: Call) -> None:
        await call.open_watch()
        await call.send("ADDED", an_object())
        await call.stay_idle()

    async with against(script, tmp_path) as client, aclosing(client.watch(CONFIGMAP, "1", idle_timeout=0.1)) as events:
        assert [(await anext(events)).type for _ in range(2)] == ["BOOKMARK", "ADDED"]
        with pytest.raises(IdleTimeout, match=r"nothing received for 0\.1 s"):
            await anext(events)


async def test_closed_port_is_unreachable(tmp_path: Path):
    async def script(call: Call) -> None:
        await call.stay_idle()

    async with open_scripted_api(script, tmp_path) as kubeconfig:
        pass
    async with open_client(ClientConfig(kubeconfig=kubeconfig)) as client:
        with pytest.raises(ApiServerUnreachable, match="GET /api/v1/namespaces/shop/configmaps/a"):
            await client.get(CONFIGMAP, KEY)
        with pytest.raises(ApiServerUnreachable):
            async with aclosing(client.watch(CONFIGMAP, "1")) as events:
                await anext(events)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"metadata":3}', b"[]"])
async def test_response_that_is_no_object_raises(tmp_path: Path, body: bytes):
    async def script(call: Call) -> None:
        await call.respond(body)

    async with against(script, tmp_path) as client:
        with pytest.raises(KubeError, match="cannot be decoded"):
            await client.get(CONFIGMAP, KEY)
        with pytest.raises(KubeError, match="not a Kubernetes list"):
            await client.list(CONFIGMAP)


async def test_empty_list_may_be_null(tmp_path: Path):
    async def script(call: Call) -> None:
        await call.respond({"metadata": {"resourceVersion": "7"}, "items": None})

    async with against(script, tmp_path) as client:
        found = await client.list(CONFIGMAP)

    assert (found.items, found.resource_version) == ([], "7")


async def test_pages_are_joined(tmp_path: Path):
    asked: list[str] = []

    async def script(call: Call) -> None:
        asked.append(call.query.get("continue", ""))
        number = len(asked)
        await call.respond(a_listing(an_object(f"m{number}"), version="9", token=f"t{number}" if number < 3 else ""))

    async with against(script, tmp_path) as client:
        found = await client.list(CONFIGMAP)

    assert [item.metadata.name for item in found.items] == ["m1", "m2", "m3"]
    assert asked == ["", "t1", "t2"]


async def test_calls_beyond_the_limit_wait(tmp_path: Path):
    here = 0
    most = 0

    async def script(call: Call) -> None:
        nonlocal here, most
        here += 1
        most = max(most, here)
        for _ in range(10):
            await asyncio.sleep(0)
        here -= 1
        await call.respond(an_object())

    async with (
        open_scripted_api(script, tmp_path) as kubeconfig,
        open_client(ClientConfig(kubeconfig=kubeconfig, max_connections=3)) as client,
    ):
        await asyncio.gather(*(client.get(CONFIGMAP, KEY) for _ in range(30)))

    assert most <= 3


async def test_write_sends_field_manager_and_content_type(tmp_path: Path):
    seen: list[tuple[str, str, str]] = []

    async def script(call: Call) -> None:
        seen.append((call.method, call.query.get("fieldManager", ""), call.headers.get("content-type", "")))
        await call.respond(an_object())

    async with against(script, tmp_path) as client:
        await client.create(CONFIGMAP, an_object())
        await client.patch_status(
            CONFIGMAP, PartialObjectMetadata(metadata=(await client.get(CONFIGMAP, KEY)).metadata), {}
        )

    assert seen[0] == ("POST", "kubernaut", "application/json")
    assert seen[2] == ("PATCH", "kubernaut", "application/merge-patch+json")


async def test_object_without_a_namespace_is_not_sent(tmp_path: Path):
    async def script(call: Call) -> None:
        raise AssertionError("nothing should come")

    async with against(script, tmp_path) as client:
        with pytest.raises(ValueError, match="needs a namespace"):
            await client.create(CONFIGMAP, {"metadata": {"name": "a"}})
