"""Reviews are remembered for a short time, shared, and fail without letting anybody in."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kubernaut.kube.client import ClientConfig, open_client
from kubernaut.kube.reviews import ACCESS_REVIEWS, FAILURE_TTL, TOKEN_REVIEWS, Reviews
from kubernaut.ops.http.auth_config import ReviewConfig
from kubernaut.ops.http.authentication import CannotAuthenticate, Identity, Permission
from support.eventually import eventually
from support.logs import capture_logs
from support.scripted_api import Call, open_scripted_api

TOKEN = "secret-token"
USER = {"username": "system:serviceaccount:shop:cart", "uid": "u1", "groups": ["g"], "extra": {"pod": ["cart-1"]}}
CART = Identity(name=USER["username"], uid="u1", groups=("g",), extra=(("pod", ("cart-1",)),))


@dataclass
class FakeApi:
    """What the API server answers, and what it was asked."""

    users: dict[str, dict[str, Any]] = field(default_factory=lambda: {TOKEN: USER})
    verbs: set[str] = field(default_factory=lambda: {"create"})
    audiences: list[str] = field(default_factory=list)
    fails: bool = False
    breaks: int = 0
    delay: asyncio.Event | None = None
    specs: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    now: float = 1000.0

    async def answer(self, call: Call) -> None:
        spec = json.loads(call.body)["spec"]
        self.specs.append(spec)
        self.paths.append(call.path)
        if self.delay is not None:
            await self.delay.wait()
        if self.breaks:
            self.breaks -= 1
            call.abort()
        elif self.fails:
            await call.reject(500, message="etcd is away")
        elif call.path == TOKEN_REVIEWS:
            user = self.users.get(spec["token"])
            status = {"authenticated": True, "user": user} if user else {"error": "[invalid bearer token]"}
            await call.respond({"status": status | {"audiences": self.audiences}}, 201)
        else:
            allowed = spec["resourceAttributes"]["verb"] in self.verbs
            await call.respond({"status": {"allowed": allowed}}, 201)


Opened = Callable[..., Any]


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def opened(api: FakeApi, tmp_path: Path) -> Opened:
    @asynccontextmanager
    async def opening(**settings: Any) -> AsyncIterator[Reviews]:
        config = ReviewConfig(name="gateway-service", namespace="kubernaut", **settings)
        async with (
            open_scripted_api(api.answer, tmp_path) as kubeconfig,
            open_client(ClientConfig(kubeconfig=kubeconfig, timeout=5)) as client,
        ):
            yield Reviews(client, config, clock=lambda: api.now)

    return opening


async def test_identity_has_all_that_the_second_review_needs(api, opened):
    async with opened() as reviews:
        identity = await reviews.authenticate(TOKEN)
        assert await reviews.denial(identity, Permission.WRITE) is None

    assert identity == CART
    assert api.paths == [TOKEN_REVIEWS, ACCESS_REVIEWS]
    assert api.specs[1] == {
        "user": CART.name,
        "uid": "u1",
        "groups": ["g"],
        "extra": {"pod": ["cart-1"]},
        "resourceAttributes": {
            "namespace": "kubernaut",
            "verb": "create",
            "group": "",
            "resource": "services",
            "name": "gateway-service",
        },
    }


async def test_denial_says_which_verb_on_what_is_missing(opened):
    async with opened() as reviews:
        denial = await reviews.denial(CART, Permission.READ)

    assert denial == (
        "system:serviceaccount:shop:cart has no read permission: it may not get services 'gateway-service' "
        "in namespace 'kubernaut'"
    )


async def test_good_review_counts_for_its_time_and_a_bad_one_for_less(api, opened):
    async with opened(cache_ttl=30, negative_cache_ttl=5) as reviews:
        assert await reviews.authenticate(TOKEN) == CART
        assert await reviews.authenticate("wrong") is None
        api.users = {"wrong": USER}
        api.now += 4.9
        assert await reviews.authenticate("wrong") is None
        api.now += 0.2
        assert await reviews.authenticate("wrong") == CART
        assert await reviews.authenticate(TOKEN) == CART
        api.now += 25
        assert await reviews.authenticate(TOKEN) is None

    assert len(api.specs) == 4


async def test_requests_at_the_same_time_share_one_review(api, opened):
    api.delay = asyncio.Event()
    async with opened() as reviews:
        first = asyncio.create_task(reviews.authenticate(TOKEN))
        others = [asyncio.create_task(reviews.authenticate(TOKEN)) for _ in range(20)]
        await eventually(lambda: bool(api.specs), description="the first review has arrived")
        first.cancel()  # its client is gone; the others still get their answer
        api.delay.set()
        results = await asyncio.gather(*others)

    assert set(results) == {CART}
    assert len(api.specs) <= 2


async def test_failure_lets_nobody_in_and_is_not_repeated_at_once(api, opened):
    api.fails = True
    async with opened() as reviews:
        for _ in range(10):
            with pytest.raises(CannotAuthenticate, match="etcd is away") as caught:
                await reviews.authenticate(TOKEN)
            assert TOKEN not in str(caught.value)
        assert len(api.specs) == 1
        api.fails = False
        api.now += FAILURE_TTL
        assert await reviews.authenticate(TOKEN) == CART


async def test_answer_that_is_no_review_lets_nobody_in(tmp_path):
    async def html(call: Call) -> None:
        await call.respond(b"<html>proxy</html>")

    async with (
        open_scripted_api(html, tmp_path) as kubeconfig,
        open_client(ClientConfig(kubeconfig=kubeconfig, timeout=5)) as client,
    ):
        reviews = Reviews(client, ReviewConfig())
        with pytest.raises(CannotAuthenticate):
            await reviews.authenticate(TOKEN)
        with pytest.raises(CannotAuthenticate):
            await reviews.denial(CART, Permission.WRITE)


async def test_broken_connection_is_tried_once_more(api, opened):
    api.breaks = 1
    async with opened() as reviews:
        assert await reviews.authenticate(TOKEN) == CART


async def test_token_for_other_audiences_is_nobodys(api, opened):
    async with opened(audiences=("kubernaut",)) as reviews:
        assert await reviews.authenticate(TOKEN) is None
        api.audiences = ["kubernaut"]
        api.now += 10
        assert await reviews.authenticate(TOKEN) == CART

    assert api.specs[0]["audiences"] == ["kubernaut"]


async def test_user_without_a_name_is_nobody(api, opened):
    api.users = {TOKEN: {"username": ""}}
    async with opened() as reviews:
        assert await reviews.authenticate(TOKEN) is None


async def test_memory_is_bounded_and_who_comes_often_stays(api, opened):
    async with opened(max_cached=10) as reviews:
        for number in range(50):
            await reviews.authenticate(f"wrong {number}")
            await reviews.authenticate(TOKEN)

        assert sum("secret" in spec["token"] for spec in api.specs) == 1
        assert len(reviews._identities) == 10


async def test_no_token_is_kept_or_logged(api, opened):
    with capture_logs() as logs:
        async with opened() as reviews:
            await reviews.authenticate(TOKEN)
            kept = repr(vars(reviews)) + repr([vars(entry) for entry in reviews._identities._entries.values()])
            keys = list(reviews._identities._entries)

    assert TOKEN not in kept + repr(keys) + repr(logs)
