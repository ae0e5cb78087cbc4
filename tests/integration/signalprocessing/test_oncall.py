"""The on-call page in Debian's chromium, over signals that a real controller decides."""

import asyncio
import os
import signal as signals
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from kubernaut.api.crds import all_crds
from kubernaut.api.vocabulary import Label
from kubernaut.audit.client import open_client as open_store_client
from kubernaut.audit.config import ClientConfig as StoreClientConfig
from kubernaut.audit.errors import StoreError
from kubernaut.datastorage.config import ActorConfig
from kubernaut.datastorage.service import open_service as open_datastorage
from kubernaut.embedded.kubernetes import KubernetesConfig, open_kubernetes
from kubernaut.kube.client import ClientConfig, open_client
from kubernaut.kube.crds import ensure_crds
from kubernaut.kube.errors import Forbidden
from kubernaut.kube.objects import Key
from kubernaut.oncall.service import open_oncall
from kubernaut.oncall.source import SIGNAL
from kubernaut.ops.http.auth_config import AuthConfig, AuthMode, TokenConfig
from kubernaut.ops.http.authentication import Permission
from support import browser
from support.browser import Browser, Page, open_browser
from support.datastorage import config_for
from support.eventually import eventually
from support.kinds import NAMESPACE
from support.scripted_api import Call, a_listing, open_scripted_api
from support.signals import a_namespace, a_signal, an_object, as_manifest

needs_browser = pytest.mark.skipif(browser.PROGRAM is None, reason=browser.MISSING)

KUBERNAUT = Path(sys.executable).with_name("kubernaut")
HOSTILE = "<img src=x onerror=alert(1)>\u202e{{7*7}}"
ROWS = "[...document.querySelectorAll('a.open')].map(link => link.textContent)"
TEXT = "document.getElementById('board').innerText"


@pytest.fixture
async def chromium(tmp_path: Path) -> AsyncIterator[Browser]:
    async with open_browser(tmp_path) as opened:
        yield opened


async def a_request(cluster, signal, count: int) -> Key:
    """The request of a signal, on which so many alerts were counted."""
    name = signal.spec.remediation_request_ref.name
    spec = {"signalName": signal.spec.signal.name}
    status = {"deduplication": {"occurrenceCount": count}}
    await cluster.create(an_object("RemediationRequest", name, cluster.home, spec=spec) | {"status": status})
    return Key(cluster.home, name)


async def press(page: Page, key: str) -> None:
    for kind in ("keyDown", "keyUp"):
        await page.send("Input.dispatchKeyEvent", type=kind, key=key, text=key if kind == "keyDown" else "")


async def keep(page: Page, name: str) -> None:
    """Write a picture for people, where they ask for it."""
    if folder := os.environ.get("KUBERNAUT_TEST_PICTURES"):
        (Path(folder) / f"{name}.png").write_bytes(await page.screenshot())


@needs_browser
async def test_page_lists_follows_and_leads_to_the_proof(cluster, controller, store, chromium):
    shop = cluster.name("shop")
    await cluster.create(a_namespace(shop, "production", **{"kubernaut.ai/team": "payments"}))
    first, hostile, later = a_signal(at=shop), a_signal("warning", at=shop, name=HOSTILE), a_signal(at=shop, name="New")
    request = await a_request(cluster, first, 7)
    await cluster.completed(first)
    await cluster.completed(hostile)
    async with open_oncall(cluster.client, store.client, store.url, namespace=cluster.home) as url:
        page = await chromium.open(url)
        await page.until(f"{ROWS}.length === 2")
        text = await page.evaluate(TEXT)
        for expected in ("HighMemoryUsage", "payments", "Production", "critical", shop, "7", "rule ", "2 open"):
            assert expected in text
        assert await page.evaluate("[...document.querySelectorAll('h2')].map(h => h.innerText.split(/\\s/)[0])") == [
            "P0",
            "P1",
        ]
        assert "<img src=x onerror=alert(1)>\\u202e{{7*7}}" in await page.evaluate(ROWS)
        assert await page.accessibility_findings() == []
        await keep(page, "light")

        await press(page, "j")
        await cluster.completed(later)
        await page.until(f"{ROWS}.includes('New')")
        # What had the focus has it still, although the list is another one.
        assert await page.evaluate("document.activeElement.textContent") == "HighMemoryUsage"
        await press(page, "/")
        assert await page.evaluate("document.activeElement.id") == "f-priority"
        resolved = {"metadata": {"annotations": {Label.RESOLVED_AT: "2026-01-02T03:05:00Z"}}}
        await cluster.patch("RemediationRequest", request, resolved)
        await page.until(f"!{ROWS}.includes('HighMemoryUsage')")

        await page.goto(f"{url}?priority=P1&team=payments")
        assert await page.evaluate(f"{ROWS}.length") == 1
        phone = await chromium.open(url, width=360, is_dark=True)
        await phone.until(f"{ROWS}.length === 2")
        assert await phone.evaluate("document.documentElement.scrollWidth") == 360
        assert await phone.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 23, 22)"
        assert await phone.accessibility_findings() == []
        await keep(phone, "phone-dark")
        assert phone.complaints == []

        *_, newest = await store.events(later.spec.remediation_request_ref.name, 9)
        await eventually(lambda: has_receipt(store, newest), timeout=30, interval=0.2)
        await page.goto(f"{url}?priority=P0")
        await page.submit("a[href^='proof']")
        assert (await page.evaluate("location.href")).startswith(f"{store.url}/ui/events/")
        await page.until("document.querySelector('.proof').dataset.state === 'good'")
        assert page.complaints == []


async def has_receipt(store, event) -> bool:
    """Whether a checkpoint is signed that covers the event."""
    with suppress(StoreError):
        return bool(await store.client.receipt(str(event.event_id)))
    return False


@needs_browser
async def test_page_says_what_is_away_and_goes_on(tmp_path, chromium):
    async with AsyncExitStack() as api:
        config = KubernetesConfig(directory=tmp_path / "api", env={})
        server = await api.enter_async_context(open_kubernetes(config))
        nowhere = "http://127.0.0.1:9"
        async with (
            open_client(ClientConfig(kubeconfig=server.kubeconfig)) as client,
            open_store_client(StoreClientConfig(url=nowhere)) as store,
        ):
            await ensure_crds(client, all_crds())
            async with open_oncall(client, store, nowhere) as url:
                page = await chromium.open(url)
                await page.until(f"{TEXT}.includes('DataStorage has not answered since')")
                assert "Nothing is open" in await page.evaluate(TEXT)

                await api.aclose()
                await page.until(f"{TEXT}.includes('The Kubernetes API has not answered since')")

                await api.enter_async_context(open_kubernetes(config))
                await page.until(f"!{TEXT}.includes('The Kubernetes API has not answered since')")
                await client.create(NAMESPACE, {"metadata": {"name": "late"}})
                manifest = as_manifest(a_signal(name="Late", namespace="late"))
                await client.create(SIGNAL, manifest)
                await page.until(f"{ROWS}.includes('Late')")
                assert page.complaints == []
            await page.until("!document.getElementById('ended').hidden")


async def test_address_is_of_no_use_to_other_sites(cluster, store):
    async with (
        open_oncall(cluster.client, store.client, store.url, namespace=cluster.home) as url,
        httpx2.AsyncClient() as client,
    ):
        root = url.rsplit("/", 2)[0]
        answers = await asyncio.gather(
            client.get(url),
            client.get(f"{root}/"),
            client.get(f"{root}/guess/"),
            client.get(url, headers={"host": "rebound.example.com"}),
            client.get(f"{url}none"),
            client.get(f"{url}?priority=P9"),
            client.get(f"{url}proof?correlation_id=rr-none"),
        )

    assert [answer.status_code for answer in answers] == [200, 404, 404, 403, 404, 400, 404]
    secret = url.rsplit("/", 2)[1]
    assert len(secret) == 32
    assert not any(secret in answer.text for answer in answers[1:4])
    assert all("content-security-policy" in answer.headers for answer in answers)


async def test_command_prints_the_address_and_ends_with_ctrl_c(cluster, store):
    arguments = ["--kubeconfig", str(cluster.kubeconfig), "--url", store.url, "-n", cluster.home]
    process = await asyncio.create_subprocess_exec(KUBERNAUT, "oncall", *arguments, stdout=PIPE, stderr=PIPE)
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
        url = line.removeprefix("Open signals: ").strip()
        async with httpx2.AsyncClient() as client, client.stream("GET", f"{url}changes") as changes:
            parts = changes.aiter_text()
            while "event: change" not in await anext(parts):
                pass

            async def is_read() -> bool:
                return "Nothing is open" in (await client.get(url)).text

            await eventually(is_read)

            process.send_signal(signals.SIGINT)

            # The browser still listens for changes.
            rest, errors = await asyncio.wait_for(process.communicate(), 10)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, rest, errors) == (0, b"Press Ctrl-C to stop.\n", b"")


async def test_who_may_read_less_is_told_so(tmp_path, store):
    """Neither the signals of all namespaces nor any requests, as a role of one namespace may give."""
    signal = as_manifest(a_signal(name="Mine", namespace="team-a"))

    async def script(call: Call) -> None:
        if not call.path.endswith("/namespaces/team-a/signalprocessings"):
            await call.reject(403, "Forbidden", "that is forbidden")
        elif call.is_watch:
            await call.open_watch()
            await call.stay_idle()
        else:
            await call.respond(a_listing(signal | {"metadata": signal["metadata"] | {"resourceVersion": "1"}}))

    async with (
        open_scripted_api(script, tmp_path) as kubeconfig,
        open_client(ClientConfig(kubeconfig=kubeconfig)) as client,
    ):
        async with (
            open_oncall(client, store.client, store.url, namespace="team-a") as url,
            httpx2.AsyncClient() as http,
        ):

            async def page() -> str:
                text = (await http.get(url)).text
                assert "Mine" in text
                return text

            assert "You may not list RemediationRequests" in await eventually(page)
        with pytest.raises(Forbidden):
            async with open_oncall(client, store.client, store.url):
                pass


async def test_refused_token_is_no_outage(cluster, migrated_database, tmp_path):
    (tmp_path / "token").write_text("token-of-nobody-0123456789")
    (tmp_path / "reader").write_text("token-of-reader-0123456789")
    token = TokenConfig(identity="reader", file=tmp_path / "reader", permissions=(Permission.READ,))
    auth = AuthConfig(mode=AuthMode.TOKENS, tokens=(token,))
    config = replace(config_for(migrated_database), auth=auth, actors={"writer": ActorConfig(actor_ids=("*",))})
    async with open_datastorage(config) as server, httpx2.AsyncClient() as http:

        async def page_of(token: str, said: str) -> None:
            store_config = StoreClientConfig(url=server.url, token_file=tmp_path / token)
            async with (
                open_store_client(store_config) as store,
                open_oncall(cluster.client, store, server.url, namespace=cluster.home) as url,
            ):

                async def text() -> str:
                    found = (await http.get(url)).text
                    assert said in found
                    return found

                assert "has not answered" not in await eventually(text)

        await page_of("token", "DataStorage has refused you since")
        await page_of("reader", "Nothing is open")
