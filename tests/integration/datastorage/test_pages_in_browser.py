"""The pages as Debian's chromium shows them."""

import json
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from kubernaut.api.ledger import merkle, notes
from kubernaut.api.ledger.notes import Signer
from kubernaut.datastorage.config import ActorConfig, LedgerConfig, WitnessConfig
from kubernaut.datastorage.service import open_service
from kubernaut.ops.http.auth_config import AuthConfig, AuthMode, TokenConfig
from kubernaut.ops.http.authentication import Permission
from support import browser
from support.browser import Browser, Page, open_browser
from support.datastorage import BATCH, VERIFY, config_for
from support.eventually import eventually
from support.ledger_events import a_wire_event
from support.witness import TestWitness, open_witness

pytestmark = [pytest.mark.skipif(browser.PROGRAM is None, reason=browser.MISSING)]

ORIGIN = "audit.example.com/ledger"


@pytest.fixture
async def chromium(tmp_path: Path) -> AsyncIterator[Browser]:
    async with open_browser(tmp_path) as opened:
        yield opened


@pytest.fixture
def signer() -> Signer:
    return notes.new_signer(f"{ORIGIN}/0")


@pytest.fixture
async def witness(signer: Signer) -> AsyncIterator[TestWitness]:
    witness = TestWitness()
    witness.logs.append(signer.verifier)
    async with open_witness(witness):
        yield witness


@pytest.fixture
async def http(
    database: str, tmp_path: Path, signer: Signer, witness: TestWitness
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the running service, which signs its ledger and has a witness."""
    (tmp_path / "keys").write_text(signer.skey)
    ledger = LedgerConfig(
        origin=ORIGIN,
        key_file=tmp_path / "keys",
        checkpoint_interval=0.1,
        witnesses=(WitnessConfig(url=witness.url, vkey=witness.verifier.vkey),),
    )
    async with (
        open_service(config_for(database, ledger=ledger)) as server,
        httpx2.AsyncClient(base_url=server.url, timeout=10) as client,
    ):
        yield client


@pytest.fixture
def url(http: httpx2.AsyncClient) -> str:
    return str(http.base_url).rstrip("/")


async def store(http: httpx2.AsyncClient, *events: dict[str, Any]) -> str:
    """Store events; the path of the first one's page."""
    stored = await http.post(BATCH, json=events)
    assert stored.status_code == 201, stored.text
    return f"/ui/events/{stored.json()['event_ids'][0]}"


async def proof_of(page: Page) -> tuple[str, str, list[str]]:
    """The state of a page's proof once it is known, what it says, and the state of each step."""
    await page.until("document.getElementById('proof').dataset.state !== 'wait'")
    found: tuple[str, str, list[str]] = await page.evaluate(
        "[proof.dataset.state, verdict.textContent, [...steps.children].map(step => step.dataset.state)]"
    )
    return found


# The smallest contrast of a text with what is behind it, as WCAG 2 computes it, with the text.
SMALLEST_CONTRAST = """
(() => {
  const numbers = color => color.match(/[\\d.]+/g).map(Number);
  const part = value => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const behind = element => {
    for (let each = element; each; each = each.parentElement) {
      const color = numbers(getComputedStyle(each).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let worst = [21, ""];
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const own = numbers(element.closest("svg") ? style.fill : style.color);
    const [a, b] = [light(own), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst[0]) worst = [ratio, text];
  }
  return worst;
})()
"""

WIDTH = "[document.documentElement.scrollWidth, innerWidth]"
NAMELESS = """
[...document.querySelectorAll("input, select, textarea, button, a")]
  .filter(each => !(each.textContent.trim() || each.labels?.length || each.getAttribute("aria-label")))
  .map(each => each.outerHTML)
"""


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
async def test_pages_fit_the_screen_are_readable_and_quiet(
    http: httpx2.AsyncClient, url: str, chromium: Browser, width: int, is_dark: bool
):
    long = "x" * 255
    await http.post(BATCH, json=[a_wire_event(correlation_id=long, actor_id=long, namespace="n" * 253)])
    event = await store(http, *(a_wire_event(severity=each) for each in ("critical", "warning", "info", "other")))

    timelines = ("/ui/timeline?correlation_id=rr-1", f"/ui/timeline?verify=1&correlation_id={long}")
    held = await http.post(
        "/api/v1/audit/legal-hold",
        json={"correlation_id": long, "reason": long},
        headers={"X-Auth-Request-User": "n" * 255},
    )
    assert held.status_code == 200
    await http.post(VERIFY, json={})
    page = await chromium.open(width=width, is_dark=is_dark)
    for path in ("/ui/", "/ui/?severity=critical", *timelines, event, "/ui/ledger", "/ui/holds"):
        await page.goto(url + path)

        if path == event:
            await proof_of(page)
        assert page.complaints == [], path
        await page.evaluate("document.querySelectorAll('details').forEach(each => (each.open = true))")
        ratio, text = await page.evaluate(SMALLEST_CONTRAST)
        assert ratio >= 4.5, (path, text)
        scroll_width, inner_width = await page.evaluate(WIDTH)
        assert scroll_width <= inner_width == width, path
        assert await page.evaluate(NAMELESS) == []
        assert await page.accessibility_findings() == [], path


NAMESPACE = "[...document.querySelectorAll('label')].find(label => label.textContent == 'Namespace')"


async def test_filters_are_found_by_their_labels_and_submitted(http: httpx2.AsyncClient, url: str, chromium: Browser):
    await http.post(BATCH, json=[a_wire_event(namespace="shop"), a_wire_event(namespace="bank")])
    page = await chromium.open(f"{url}/ui/")

    await page.evaluate(f"{NAMESPACE}.control.value = 'bank'")
    await page.submit("form.filters button")

    assert "1 event" in await page.evaluate("document.querySelector('.summary').textContent")
    assert page.complaints == []


async def test_timeline_draws_each_event_and_leads_to_it(http: httpx2.AsyncClient, url: str, chromium: Browser):
    transitions = [("Pending", "00.0"), ("Enriching", "00.1"), ("Classifying", "00.5"), ("Completed", "00.9")]
    path = await store(
        http,
        *(
            a_wire_event(event_timestamp=f"2026-11-22T20:00:{seconds}Z", event_data={"to_phase": phase})
            for phase, seconds in transitions
        ),
        a_wire_event(event_timestamp="2026-11-22T20:00:00.5Z", event_type="x.y", duration_ms=400),
    )
    page = await chromium.open(f"{url}/ui/timeline?correlation_id=rr-1")

    assert await page.evaluate("[...document.querySelectorAll('.track.phases text')].map(t => t.textContent)") == [
        "",
        "Enriching 400 ms",
        "Classifying 400 ms",
    ]
    bar, width = await page.evaluate(
        "(b => [b.getBoundingClientRect().width, b.ownerSVGElement.clientWidth])(document.querySelector('.took'))"
    )
    assert abs(bar / width - 0.97 * 400 / 900) < 0.01
    assert await page.evaluate("document.querySelectorAll('a.row .mark').length") == 5
    await page.submit("a.row")
    assert await page.evaluate("location.pathname") == path


@pytest.mark.parametrize("width", [360, 900, 1280])
async def test_timeline_cuts_no_name_time_or_mark(http: httpx2.AsyncClient, url: str, chromium: Browser, width: int):
    phases = ["Pending", "Enriching", "Classifying", "Categorizing", "Completed"]
    events = [
        a_wire_event(
            correlation_id="rr-1",
            event_type="signalprocessing.phase.transition",
            event_timestamp=f"2026-01-02T03:04:05.{each:06}Z",
            resource_id="checkout-payment-authorization-7d9f8b6c5d-x2x9z",
            namespace="payments-production-eu-west-1",
            event_data={"from_phase": before, "to_phase": after},
        )
        for each, (before, after) in zip((100, 40_100, 48_200, 52_300), pairwise(phases), strict=True)
    ]
    await store(http, *events)

    page = await chromium.open(f"{url}/ui/timeline?correlation_id=rr-1", width=width)

    labels = await page.evaluate(
        "[...document.querySelectorAll('.phases text, .lengths')].filter(each => each.checkVisibility()"
        " && each.textContent.trim()).map(each => [each.textContent, each.getBoundingClientRect().right,"
        " (each.ownerSVGElement || document.querySelector('.picture')).getBoundingClientRect().right + 1])"
    )
    assert [text for text, right, limit in labels if right > limit] == []
    if width < 600:
        assert labels[0][0] == "Enriching 40 ms, Classifying 8.1 ms, Categorizing 4.1 ms"
    # A time goes on in a second line between its date and its clock, nowhere else.
    lines = "[...document.querySelectorAll('td time')].map(each => each.getClientRects().length)"
    assert max(await page.evaluate(lines)) <= 2
    marks = "[...document.querySelectorAll('.track circle')]"
    is_cut = (
        "(mark, track) => getComputedStyle(track).overflow !== 'visible'"
        " && mark.getBoundingClientRect().right > track.getBoundingClientRect().right"
    )
    assert not await page.evaluate(f"{marks}.some(mark => ({is_cut})(mark, mark.ownerSVGElement))")


async def test_genuine_event_is_proven_in_the_browser(
    http: httpx2.AsyncClient, url: str, chromium: Browser, witness: TestWitness
):
    events = [a_wire_event(correlation_id=f"rr-{number}", event_data={"é": number}) for number in range(7)]
    path = await store(http, *events)

    page = await chromium.open(url + path)

    state, verdict, steps = await proof_of(page)
    assert steps[:5] == ["good"] * 5, await page.evaluate("document.body.innerText")
    # The witness may not have seen the newest checkpoint yet.
    assert state == ("good" if steps[5] == "good" else "open")
    assert verdict.startswith("Proven")
    assert page.complaints == []

    async def is_cosigned() -> bool:
        await page.goto(url + path)
        return (await proof_of(page))[0] == "good"

    await eventually(is_cosigned, timeout=20)


EDITS = [
    "event_data = '{\"n\": 100}'",
    "actor_id = 'mallory'",
    "duration_ms = 7",
    "error_message = ''",
    "is_sensitive = true",
]


async def test_edited_row_is_not_proven_and_the_page_says_why(
    http: httpx2.AsyncClient, url: str, chromium: Browser, sql: asyncpg.Connection
):
    path = await store(http, a_wire_event())
    page = await chromium.open()
    await sql.execute("CREATE TABLE saved AS SELECT * FROM audit_events")

    for edit in EDITS:
        async with sql.transaction():
            await sql.execute("SET LOCAL kubernaut.allow_change = 'audit_events'")
            await sql.execute(f"UPDATE audit_events SET {edit}")  # noqa: S608 - a constant of this test
        await page.goto(url + path)

        state, verdict, steps = await proof_of(page)
        assert (state, steps[:5]) == ("bad", ["good", "bad", "good", "good", "good"]), edit
        assert verdict.startswith("Not proven. The event was changed after it was stored")


async def test_row_that_was_edited_with_its_hashes_is_not_proven_either(
    http: httpx2.AsyncClient, url: str, chromium: Browser, sql: asyncpg.Connection
):
    path = await store(http, a_wire_event(), a_wire_event())
    page = await chromium.open(url + path)
    await proof_of(page)
    async with sql.transaction():
        await sql.execute("SET LOCAL kubernaut.allow_change = 'audit_ledger'")
        await sql.execute("UPDATE audit_ledger SET late = NOT late WHERE sequence = 1")

    await page.goto(url + path)

    state, verdict, steps = await proof_of(page)
    assert (state, steps[3]) == ("bad", "bad")
    assert "The ledger entry was changed" in verdict


async def test_deleted_payload_is_red_without_a_script(
    http: httpx2.AsyncClient, url: str, chromium: Browser, sql: asyncpg.Connection
):
    path = await store(http, a_wire_event())
    async with sql.transaction():
        await sql.execute("SET LOCAL kubernaut.allow_change = 'audit_events'")
        await sql.execute("DELETE FROM audit_events")

    page = await chromium.open(url + path)

    state, text = await page.evaluate("(p => [p.dataset.state, p.innerText])(document.querySelector('.proof'))")
    assert state == "bad"
    assert "no ledger event says why" in text


async def test_own_key_decides_and_is_kept(http: httpx2.AsyncClient, url: str, chromium: Browser, signer: Signer):
    path = await store(http, a_wire_event())
    page = await chromium.open(url + path)

    async def verify_with(key: str) -> tuple[str, str, list[str]]:
        await page.evaluate(f"document.getElementById('own-key').value = {json.dumps(key)}")
        await page.evaluate("document.getElementById('verify-again').click()")
        return await proof_of(page)

    await verify_with(notes.new_signer(signer.name).verifier.vkey)
    state, verdict, steps = await proof_of(page)
    assert (state, steps[:5]) == ("bad", ["good", "good", "good", "good", "bad"])
    assert "No key that is trusted here has signed it" in verdict
    await page.goto(url + path)
    assert (await proof_of(page))[0] == "bad"
    await verify_with(signer.verifier.vkey)
    assert (await proof_of(page))[2][4] == "good"
    await verify_with("nonsense")
    assert "That is no public key" in await page.evaluate("document.getElementById('own-key-problem').textContent")


async def test_browser_without_webcrypto_says_that_the_signature_was_not_checked(
    http: httpx2.AsyncClient, url: str, chromium: Browser
):
    page = await chromium.open(url + await store(http, a_wire_event()))
    await proof_of(page)

    # As on plain HTTP from another machine.
    await page.evaluate("Object.defineProperty(crypto, 'subtle', { value: undefined })")
    await page.evaluate("document.getElementById('verify-again').click()")

    state, verdict, steps = await proof_of(page)
    assert (state, steps[:5]) == ("open", ["good", "good", "good", "good", "open"])
    assert verdict == "Proven, but not everything could be checked; see below."


async def test_script_hashes_and_proves_as_the_library_does(http: httpx2.AsyncClient, url: str, chromium: Browser):
    page = await chromium.open(url + await store(http, a_wire_event()))
    await proof_of(page)
    await page.evaluate(
        "(async () => { const at = document.querySelector('script[type=module]').src;"
        " globalThis.r = await import(at.replace('event.js', 'receipt.js'));"
        " globalThis.h = await import(at.replace('event.js', 'sha256.js')); })()"
    )
    randomness = random.Random(7)

    for length in (0, 1, 55, 56, 63, 64, 65, 119, 120, 1000, 70_000):
        content = randomness.randbytes(length)
        computed = await page.evaluate(f"r.hex(h.sha256(Uint8Array.from({list(content)})))")
        assert computed == sha256(content).hexdigest(), length
    for size in (1, 2, 3, 5, 8, 13, 255, 256, 257, 1000):
        leaves = [randomness.randbytes(32) for _ in range(size)]
        index = randomness.randrange(size)
        ranges = merkle.inclusion_ranges(index, size)
        hashes = [merkle.root_of(leaves[each.start : each.end]) for each in ranges]
        root = merkle.root_of(leaves)

        async def root_of(index: int, size: int, leaf: bytes, hashes: list[bytes]) -> str:
            values = json.dumps([list(each) for each in hashes])
            call = f"r.rootOf(new Uint8Array({list(leaf)}), {index}n, {size}n, {values}.map(v => new Uint8Array(v)))"
            found: str = await page.evaluate(
                f"(() => {{ try {{ return r.hex({call}) }} catch {{ return 'error' }} }})()"
            )
            return found

        assert await root_of(index, size, leaves[index], hashes) == root.hex()
        assert await root_of(index, size, randomness.randbytes(32), hashes) != root.hex()
        assert await root_of(index, size, leaves[index], [*hashes, bytes(32)]) == "error"
        if hashes:
            assert await root_of(index, size, leaves[index], hashes[:-1]) == "error"
            assert await root_of(index, size, leaves[index], [bytes(32), *hashes[1:]]) != root.hex()


async def test_receipt_with_any_part_exchanged_is_not_proven(http: httpx2.AsyncClient, url: str, chromium: Browser):
    first, second = a_wire_event(), a_wire_event(event_data={})
    path = await store(http, first, second)
    page = await chromium.open(url + path)
    await proof_of(page)
    receipt = (await http.get(f"{path}/receipt")).json()
    other = (await http.get(f"/ui/events/{second['event_id']}/receipt")).json()
    forged = notes.new_signer(f"{ORIGIN}/0").sign(receipt["proof"].partition("\n\n")[2].partition("\n\n")[0] + "\n")
    known = receipt["proof"].partition("— ")[2].split()[1]
    signature = str(forged).split(" ")[2].strip()
    wrong = [receipt | {part: other[part]} for part in receipt]
    wrong += [receipt | {part: receipt[part][:-3]} for part in receipt]
    wrong += [receipt | {"proof": receipt["proof"].replace(known, signature)}]
    wrong += [receipt | {"proof": receipt["proof"].replace("index 0", "index 1")}]
    wrong += [receipt | {"entry": receipt["entry"].replace('"shard":0', '"shard":1')}]
    wrong += [{"event": "", "entry": "", "proof": ""}]
    verify = """
        (async receipt => {
          const at = document.querySelector("script[type=module]").src;
          const { verify } = await import(at.replace("event.js", "receipt.js"));
          const { eventId, digest, keys } = document.getElementById("proof").dataset;
          return (await verify(receipt, { eventId, digest }, [keys])).map(step => step.state);
        })
    """

    assert await page.evaluate(f"{verify}({json.dumps(receipt)})") == ["good"] * 5
    for each in wrong:
        assert each != receipt
        assert "bad" in await page.evaluate(f"{verify}({json.dumps(each)})"), each


async def fill(page: Page, selector: str, text: str) -> None:
    await page.evaluate(f"document.querySelector({json.dumps(selector)}).value = {json.dumps(text)}")


async def test_hold_is_placed_and_released_with_forms(http: httpx2.AsyncClient, url: str, chromium: Browser):
    await store(http, a_wire_event())
    page = await chromium.open(f"{url}/ui/timeline?correlation_id=rr-1")

    await page.submit("main a[href^='/ui/holds']")
    await fill(page, "#reason", "lawsuit 7")
    await fill(page, "#name-place", "bob")
    await page.submit("#place button")
    assert "rr-1 is under legal hold." in await page.evaluate("document.body.innerText")
    assert "Placed by bob" in await page.evaluate("document.body.innerText")
    await fill(page, "#release-1", "settled")
    await fill(page, "#name-1", "bob")
    await page.submit("form[action*=release] button")

    assert "rr-1 is not under a legal hold." in await page.evaluate("document.body.innerText")
    assert (await http.get("/api/v1/audit/legal-hold")).json()["total"] == 0
    assert page.complaints == []


async def test_sign_in_holds_for_the_pages_and_the_proof_until_the_sign_out(
    database: str, tmp_path: Path, signer: Signer, chromium: Browser
):
    token, operator = "token-of-auditor-0123456789", "token-of-operator-0123456789"
    (tmp_path / "keys").write_text(signer.skey)
    (tmp_path / "auditor").write_text(token)
    (tmp_path / "operator").write_text(operator)
    tokens = (
        TokenConfig(identity="auditor", file=tmp_path / "auditor", permissions=(Permission.READ,)),
        TokenConfig(identity="operator", file=tmp_path / "operator", permissions=(Permission.WRITE,)),
    )
    config = replace(
        config_for(database, ledger=LedgerConfig(origin=ORIGIN, key_file=tmp_path / "keys")),
        auth=AuthConfig(mode=AuthMode.TOKENS, tokens=tokens),
        actors={"operator": ActorConfig(actor_ids=("*",))},
    )
    headers = {"authorization": f"Bearer {operator}"}
    async with (
        open_service(config) as server,
        httpx2.AsyncClient(base_url=server.url, timeout=10, headers=headers) as client,
    ):
        path = await store(client, a_wire_event())
        page = await chromium.open(server.url + path)

        assert await page.evaluate("location.pathname") == "/ui/sign-in"
        assert await page.evaluate("document.activeElement.id") == "token"
        await fill(page, "#token", token)
        await page.submit("form button")
        assert await page.evaluate("location.pathname") == path
        assert (await proof_of(page))[0] == "good"
        assert await page.evaluate("document.cookie") == ""
        # The same cookie does not open the API, neither to this page nor to a form.
        status = await page.evaluate("fetch('/api/v1/audit/events').then(answer => answer.status)")
        assert status == 401
        page.complaints.clear()
        await page.goto(f"{server.url}/ui/holds")
        assert "You cannot place or release holds" in await page.evaluate("document.body.innerText")
        await page.submit("form.who button")

        assert await page.evaluate("location.pathname") == "/ui/sign-in"
        await page.goto(server.url + path)
        assert await page.evaluate("location.pathname") == "/ui/sign-in"
        assert page.complaints == []


async def test_link_of_another_site_opens_the_page_of_who_is_signed_in(
    database: str, tmp_path: Path, chromium: Browser
):
    token = "token-of-auditor-0123456789"
    (tmp_path / "auditor").write_text(token)
    auth = AuthConfig(
        mode=AuthMode.TOKENS,
        tokens=(TokenConfig(identity="auditor", file=tmp_path / "auditor", permissions=(Permission.READ,)),),
    )
    config = replace(config_for(database), auth=auth, actors={"auditor": ActorConfig(actor_ids=("*",))})
    async with open_service(config) as server:
        page = await chromium.open(f"{server.url}/ui/")
        await fill(page, "#token", token)
        await page.submit("form button")
        await page.goto(f"data:text/html,<a href='{server.url}/ui/ledger'>chat</a>")

        await page.evaluate("document.querySelector('a').click()")

        await page.until("location.pathname === '/ui/ledger' && document.querySelector('h1')?.textContent === 'Ledger'")
