"""Who may see the pages and use the forms on them, on the running service."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import httpx2
import pytest

from kubernaut.datastorage.config import ActorConfig
from kubernaut.datastorage.service import open_service
from kubernaut.ops.http.auth_config import AuthConfig, AuthMode, TokenConfig
from kubernaut.ops.http.authentication import Permission
from support.datastorage import BATCH, EVENTS, config_for
from support.ledger_events import a_wire_event
from support.logs import capture_logs
from support.pages import HOSTILE, HOSTILE_AS_TEXT, assert_page

PERMISSIONS = {
    "auditor": (Permission.READ,),
    "alice@example.com": (Permission.READ, Permission.WRITE, Permission.OPERATE),
    "writer": (Permission.WRITE,),
}
HOLDS = "/ui/holds"


def token(name: str) -> str:
    return f"token-of-{name}-0123456789"


@pytest.fixture
async def guarded(database: str, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a service with static tokens, as a browser that has a page of it open."""
    tokens = []
    for name, permissions in PERMISSIONS.items():
        (tmp_path / name).write_text(f"{token(name)}\n")
        tokens.append(TokenConfig(identity=name, file=tmp_path / name, permissions=permissions))
    config = replace(
        config_for(database),
        auth=AuthConfig(mode=AuthMode.TOKENS, tokens=tuple(tokens)),
        actors={"alice@example.com": ActorConfig(actor_ids=("*",))},
    )
    async with (
        open_service(config) as server,
        httpx2.AsyncClient(base_url=server.url, timeout=10, headers={"origin": server.url}) as client,
    ):
        yield client


async def sign_in(client: httpx2.AsyncClient, name: str) -> None:
    answer = await client.post("/ui/sign-in", data={"token": token(name)})
    assert answer.status_code == 303, answer.text


async def stored(client: httpx2.AsyncClient, **fields: object) -> None:
    headers = {"authorization": f"Bearer {token('alice@example.com')}"}
    answer = await client.post(BATCH, json=[a_wire_event(**fields)], headers=headers)
    assert answer.status_code == 201, answer.text


async def test_stranger_is_led_to_the_sign_in_and_then_to_the_page(guarded: httpx2.AsyncClient):
    wanted = f"/ui/timeline?{urlencode({'correlation_id': 'rr-1'})}"
    await stored(guarded)

    led = await guarded.get(wanted)
    assert led.status_code == 303
    assert_page(await guarded.get(led.headers["location"]))
    signed_in = await guarded.post(led.headers["location"], data={"token": f" {token('auditor')}\n"})

    assert (signed_in.status_code, signed_in.headers["location"]) == (303, wanted)
    cookie = signed_in.headers["set-cookie"].lower()
    assert {"httponly", "samesite=strict", "path=/ui"} <= {part.strip() for part in cookie.split(";")}
    assert "secure" not in cookie
    assert "max-age" not in cookie
    assert "auditor" in assert_page(await guarded.get(wanted))


async def test_cookie_is_for_tls_only_where_the_browser_came_over_tls(guarded: httpx2.AsyncClient):
    host = guarded.base_url.netloc.decode()

    answer = await guarded.post("/ui/sign-in", data={"token": token("auditor")}, headers={"origin": f"https://{host}"})

    assert "; secure" in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize(
    ("given", "status", "reason"),
    [
        (token("auditor")[:-1], 401, "The token is invalid or has expired."),
        (token("writer"), 403, "writer has no read permission"),
        ("", 400, "A token has"),
        ("x" * 3000, 400, "A token has"),
        ("tökén-0123456789-0123", 400, "A token has"),
        (HOSTILE, 400, "A token has"),
    ],
)
async def test_token_that_is_no_good_is_refused_and_not_repeated(
    guarded: httpx2.AsyncClient, given: str, status: int, reason: str
):
    answer = await guarded.post("/ui/sign-in", data={"token": given})

    assert reason in assert_page(answer, status)
    assert "set-cookie" not in answer.headers
    assert not given or given not in answer.text


async def test_api_never_takes_the_cookie(guarded: httpx2.AsyncClient):
    await sign_in(guarded, "alice@example.com")
    cookie = {"cookie": f"kubernaut_token={guarded.cookies['kubernaut_token']}"}

    for method, path in (("GET", EVENTS), ("POST", BATCH), ("GET", "/ledger/0/checkpoint"), ("GET", "/uix/")):
        answer = await guarded.request(method, path, headers=cookie)

        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json"), path
    assert (await guarded.get("/ui/", headers=cookie)).status_code == 200


@pytest.mark.parametrize("value", ["", "!", "AAAA", "%0d%0a", "a" * 4000, "w6Q"])
async def test_cookie_that_holds_no_token_leads_to_the_sign_in_and_is_dropped(guarded: httpx2.AsyncClient, value: str):
    answer = await guarded.get("/ui/", headers={"cookie": f"kubernaut_token={value}"})

    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/sign-in?next=%2Fui%2F")
    assert "max-age=0" in answer.headers["set-cookie"].lower()


async def test_token_that_is_revoked_ends_the_session(guarded: httpx2.AsyncClient, tmp_path: Path):
    await sign_in(guarded, "auditor")
    (tmp_path / "auditor").write_text("another-token-0123456789\n")

    async def is_led_away() -> bool:
        return (await guarded.get("/ui/")).status_code == 303

    # A token file is looked at once a second, or when a token is unknown.
    await guarded.get("/ui/", headers={"authorization": "Bearer nobody-0123456789"})
    assert await is_led_away()


async def test_signing_out_drops_the_cookie(guarded: httpx2.AsyncClient):
    await sign_in(guarded, "auditor")

    answer = await guarded.post("/ui/sign-out")

    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/sign-in")
    assert "kubernaut_token" not in guarded.cookies
    assert (await guarded.get("/ui/")).status_code == 303


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/ui/\\..",
        "/api/v1/audit/events",
        "/ui/sign-out",
        "",
    ],
)
async def test_sign_in_leads_to_pages_of_ours_only(guarded: httpx2.AsyncClient, wanted: str):
    answer = await guarded.post(f"/ui/sign-in?{urlencode({'next': wanted})}", data={"token": token("auditor")})

    assert answer.headers["location"] == "/ui/"


FOREIGN = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "", "sec-fetch-site": "cross-site"},
    {"origin": "", "sec-fetch-site": "same-site"},
    {"origin": ""},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize("path", ["/ui/sign-in", "/ui/sign-out", HOLDS, f"{HOLDS}/release?correlation_id=rr-1"])
async def test_form_of_another_site_does_nothing(guarded: httpx2.AsyncClient, path: str, headers: dict[str, str]):
    await stored(guarded)
    await sign_in(guarded, "alice@example.com")
    form = {"token": token("auditor"), "correlation_id": "rr-1", "reason": "x", "release_reason": "x"}
    if not headers["origin"]:
        del guarded.headers["origin"]
        headers = {name: value for name, value in headers.items() if name != "origin"}

    answer = await guarded.post(path, data=form, headers=headers)

    assert "was not sent by a page of this server" in assert_page(answer, 403)
    assert "set-cookie" not in answer.headers
    assert "No hold is in force." in assert_page(await guarded.get(HOLDS))


async def test_link_of_another_site_is_followed_by_a_page_of_ours(guarded: httpx2.AsyncClient):
    answer = await guarded.get("/ui/", headers={"sec-fetch-site": "cross-site"})

    assert_page(answer, 401)
    assert '<meta http-equiv="refresh" content="0">' in answer.text


async def test_operator_places_and_releases_a_hold(guarded: httpx2.AsyncClient):
    await stored(guarded, correlation_id="a\nb")
    await sign_in(guarded, "alice@example.com")
    address = urlencode({"correlation_id": "a\nb"})
    assert "a\\nb" in assert_page(await guarded.get(f"{HOLDS}?{address}"))

    placed = await guarded.post(f"{HOLDS}?{address}", data={"reason": HOSTILE}, follow_redirects=True)
    text = assert_page(placed)
    assert "a\\nb is under legal hold." in text
    assert HOSTILE_AS_TEXT in text
    assert "Placed by alice@example.com" in text
    again = await guarded.post(HOLDS + f"?{address}", data={"reason": "other"})
    assert "is under a legal hold already" in assert_page(again, 409)
    (release,) = re.findall(r'action="(/ui/holds/release\?[^"]+)"', placed.text)
    released = await guarded.post(release, data={"release_reason": "settled"}, follow_redirects=True)

    text = assert_page(released)
    assert "a\\nb is not under a legal hold." in text
    assert "No hold is in force." in text
    again = await guarded.post(release, data={"release_reason": "settled"})
    assert "is not under a legal hold" in assert_page(again, 404)


@pytest.mark.parametrize(
    ("form", "status", "reason"),
    [
        ({"correlation_id": "rr-9", "reason": "x"}, 404, "there are no events with correlation id"),
        ({"correlation_id": HOSTILE, "reason": HOSTILE}, 404, "there are no events with correlation id"),
        ({"correlation_id": "rr-1", "reason": " "}, 400, "reason"),
        ({"correlation_id": "rr-1"}, 400, "reason"),
        ({"reason": "x"}, 400, "correlation_id"),
        ({"correlation_id": "rr-1", "reason": "x\0"}, 400, "no NUL"),
        ({"correlation_id": "x" * 256, "reason": "x"}, 400, "correlation_id"),
        ({f"field-{number}": "x" for number in range(30)}, 400, "The form cannot be read."),
    ],
)
async def test_hold_that_cannot_be_placed_says_why(
    guarded: httpx2.AsyncClient, form: dict[str, str], status: int, reason: str
):
    await stored(guarded)
    await sign_in(guarded, "alice@example.com")

    assert reason in assert_page(await guarded.post(HOLDS, data=form), status)


async def test_reader_sees_holds_and_may_change_none(guarded: httpx2.AsyncClient):
    await stored(guarded)
    await sign_in(guarded, "auditor")

    page = await guarded.get(HOLDS)
    placed = await guarded.post(HOLDS, data={"correlation_id": "rr-1", "reason": "x"})

    assert "You cannot place or release holds: auditor has no operate permission." in assert_page(page)
    assert "Place the hold" not in page.text
    assert "auditor has no operate permission" in assert_page(placed, 403)
    assert "No hold is in force." in assert_page(await guarded.get(HOLDS))


async def test_form_of_somebody_who_is_not_signed_in_is_refused(guarded: httpx2.AsyncClient):
    assert "Unauthorized" in assert_page(await guarded.post(HOLDS, data={}), 401)


async def test_without_authentication_the_form_asks_for_a_name(http: httpx2.AsyncClient):
    await http.post(BATCH, json=[a_wire_event()])
    origin = {"origin": str(http.base_url).rstrip("/")}
    form = {"correlation_id": "rr-1", "reason": "lawsuit 7"}
    assert "Your name" in assert_page(await http.get(HOLDS))

    nameless = await http.post(HOLDS, data=form, headers=origin)
    placed = await http.post(HOLDS, data=form | {"name": "bob"}, headers=origin, follow_redirects=True)
    by_proxy = await http.get(HOLDS, headers={"X-Auth-Request-User": "carol"})

    assert "does not say who sends it (Your name)" in assert_page(nameless, 401)
    assert "Placed by bob" in assert_page(placed)
    assert "Your name" not in by_proxy.text
    assert (await http.get("/ui/sign-in")).headers["location"] == "/ui/"


async def test_tokens_that_cannot_be_checked_are_an_outage_and_no_refusal(guarded: httpx2.AsyncClient, tmp_path: Path):
    (tmp_path / "auditor").unlink()
    # A token file is looked at once a second, or when a token is unknown.
    await guarded.get("/ui/", headers={"authorization": "Bearer nobody-0123456789"})

    answer = await guarded.post("/ui/sign-in", data={"token": token("auditor")})

    assert "cannot be checked at the moment" in assert_page(answer, 503)


async def test_token_is_in_no_log_and_no_address(guarded: httpx2.AsyncClient):
    secret = token("auditor")
    with capture_logs() as logs:
        await sign_in(guarded, "auditor")
        pages = [await guarded.get(path) for path in ("/ui/", HOLDS, "/ui/ledger", "/ui/nothing")]
        await guarded.post("/ui/sign-in", data={"token": f"{secret}x"})
        await guarded.post("/ui/sign-out")

    assert secret not in str(logs)
    assert str(guarded.cookies) not in str(logs)
    assert not [page for page in pages if secret in page.text or secret in str(page.url)]
