"""Who gets in, with which permission, and what the others are told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from kubernaut.api.problems import Slug
from kubernaut.ops.health import PUBLIC_PATHS, Health
from kubernaut.ops.http import problems
from kubernaut.ops.http.auth_config import AuthConfig, AuthMode, TokenConfig
from kubernaut.ops.http.authentication import (
    AccessRules,
    AuthenticationMiddleware,
    Authenticator,
    CannotAuthenticate,
    Identity,
    Permission,
)
from kubernaut.ops.http.rate_limit import RateLimitConfig, RateLimiter
from kubernaut.ops.http.token_files import TokenFiles
from kubernaut.ops.metrics import new_registry
from kubernaut.ops.settings import SettingsError, load

TOKEN = "0123456789abcdef"


class Unreachable:
    """The API server is away."""

    async def authenticate(self, token: str) -> Identity | None:
        raise CannotAuthenticate(f"no API server at 127.0.0.1 for {len(token)} characters")

    async def denial(self, identity: Identity, permission: Permission) -> str | None:
        raise AssertionError("nobody is authenticated")


def token_files(tmp_path: Path, **permissions: tuple[Permission, ...]) -> TokenFiles:
    """One file per identity, which holds its name and TOKEN."""
    configs = []
    for identity, given in permissions.items():
        (tmp_path / identity).write_text(f"{identity}-{TOKEN}\n")
        configs.append(TokenConfig(identity=identity, file=tmp_path / identity, permissions=given))
    return TokenFiles(configs)


def permission_for(method: str, path: str) -> Permission | None:
    return None if path in PUBLIC_PATHS else Permission.READ if method == "GET" else Permission.WRITE


@asynccontextmanager
async def open_http(
    authenticator: Authenticator | None, limit: RateLimitConfig | None = None
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an application that answers with the sender's name."""

    async def name(request: Request) -> PlainTextResponse:
        identity = getattr(request.state, "identity", None)
        return PlainTextResponse(identity.name if identity else "anonymous")

    routes = [Route("/events", name, methods=["GET", "POST"]), *Health({}).routes(new_registry("test", "1"))]
    rules = AccessRules(
        permission_for=permission_for,
        rate_limiter=RateLimiter(limit or RateLimitConfig()),
        failure_limiter=RateLimiter(RateLimitConfig(requests_per_second=0.001, burst=3)),
        rate_limit_slug=Slug.RATE_LIMIT,
    )
    app = AuthenticationMiddleware(problems.application(routes), authenticator, rules)
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def bearer(identity: str) -> dict[str, str]:
    return {"authorization": f"Bearer {identity}-{TOKEN}"}


def assert_problem(answer: httpx2.Response, status: int, slug: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"https://kubernaut.ai/problems/{slug}"
    assert TOKEN not in answer.text


async def test_application_learns_who_sends_the_request(tmp_path):
    async with open_http(token_files(tmp_path, gateway=(Permission.WRITE,))) as http:
        answer = await http.post("/events", headers=bearer("gateway"))

    assert (answer.status_code, answer.text) == (200, "gateway")


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer  ")],
        [("authorization", f"Basic gateway-{TOKEN}")],
        [("authorization", f"gateway-{TOKEN}")],
        [("authorization", "Bearer nobody")],
        [("authorization", "Bearer \xff\xfe")],
        [("authorization", f"Bearer gateway-{TOKEN}"), ("authorization", "Bearer nobody")],
    ],
    ids=str,
)
async def test_request_without_a_valid_token_is_unauthorized(tmp_path, headers):
    async with open_http(token_files(tmp_path, gateway=(Permission.WRITE,))) as http:
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        answer = await http.post("/events", headers=encoded)

    assert_problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer ")


async def test_readers_may_not_write_and_writers_may_not_read(tmp_path):
    authenticator = token_files(tmp_path, reader=(Permission.READ,), writer=(Permission.WRITE,))
    async with open_http(authenticator) as http:
        answers = {
            (identity, method): await http.request(method, "/events", headers=bearer(identity))
            for identity in ("reader", "writer")
            for method in ("GET", "POST")
        }

    assert {key for key, answer in answers.items() if answer.is_success} == {("reader", "GET"), ("writer", "POST")}
    assert_problem(answers["reader", "POST"], 403, "forbidden")
    assert answers["reader", "POST"].json()["detail"] == "reader has no write permission"


async def test_while_tokens_cannot_be_checked_the_answer_is_503_and_never_401():
    async with open_http(Unreachable()) as http:
        answer = await http.post("/events", headers=bearer("gateway"))

    assert_problem(answer, 503, "service-unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert "127.0.0.1" not in answer.text


async def test_health_and_metrics_are_open():
    async with open_http(Unreachable()) as http:
        answers = {path: (await http.get(path)).status_code for path in sorted(PUBLIC_PATHS)}

    assert set(answers.values()) == {200}


async def test_stranger_cannot_tell_which_paths_exist(tmp_path):
    async with open_http(token_files(tmp_path, gateway=(Permission.WRITE,))) as http:
        answers = [await http.get(path) for path in ("/nothing", "/livez/", "//livez", "/metrics/x", "/events")]

    assert [answer.status_code for answer in answers] == [401] * 5


async def test_rate_is_limited_for_each_identity(tmp_path):
    authenticator = token_files(tmp_path, fast=(Permission.WRITE,), slow=(Permission.WRITE,))
    limit = RateLimitConfig(requests_per_second=0.01, burst=2)
    async with open_http(authenticator, limit) as http:
        fast = [await http.post("/events", headers=bearer("fast")) for _ in range(3)]
        slow = await http.post("/events", headers=bearer("slow"))

    assert [answer.status_code for answer in fast] == [200, 200, 429]
    assert_problem(fast[2], 429, "rate-limit-exceeded")
    assert int(fast[2].headers["retry-after"]) == 100
    assert fast[2].json()["retry"] is True
    assert slow.status_code == 200


async def test_without_authentication_everybody_is_let_in():
    async with open_http(None) as http:
        answer = await http.post("/events")

    assert answer.text == "anonymous"


@pytest.mark.parametrize(
    ("method", "host", "origin", "is_served"),
    [
        ("POST", "127.0.0.1:8080", None, True),
        ("POST", "[::1]:8080", None, True),
        ("POST", "localhost", None, True),
        ("POST", "gateway:8080", None, True),
        ("POST", "host.docker.internal:8080", None, True),
        ("POST", "10.1.2.3:8080", None, True),
        ("POST", "127.0.0.1:8080", "http://127.0.0.1:8080", True),  # a form of our own pages
        ("POST", "127.0.0.1:8080", "http://127.0.0.1:3000", False),
        ("POST", "127.0.0.1:8080", "https://evil.example", False),
        ("POST", "127.0.0.1:8080", "null", False),
        ("GET", "127.0.0.1:8080", "https://evil.example", True),  # a page cannot read the answer
        ("GET", "evil.example:8080", None, False),
        ("GET", "127.0.0.1.evil.example", None, False),
        ("GET", "localhost.evil.example", None, False),
        ("GET", "[", None, False),
    ],
)
async def test_without_authentication_pages_of_other_sites_get_nothing(method, host, origin, is_served):
    headers = {"host": host} | ({"origin": origin} if origin is not None else {})
    async with open_http(None) as http:
        answer = await http.request(method, "/events", headers=headers)

    if is_served:
        assert answer.text == "anonymous"
    else:
        assert_problem(answer, 403, "forbidden")


async def test_with_authentication_any_name_is_served(tmp_path):
    async with open_http(token_files(tmp_path, reader=(Permission.READ,))) as http:
        answer = await http.get("/events", headers={**bearer("reader"), "host": "audit.example.com"})

    assert answer.text == "reader"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]"])
def test_loopback_needs_no_authentication(host):
    assert AuthConfig().mode_on(host) is AuthMode.NONE
    assert AuthConfig(mode=AuthMode.NONE).mode_on(host) is AuthMode.NONE


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "gateway.example.com", "localhost", ""])  # noqa: S104
@pytest.mark.parametrize(("mode", "shown"), [(None, "unset"), (AuthMode.NONE, "none")])
def test_other_addresses_need_authentication(host, mode, shown):
    with pytest.raises(
        SettingsError, match=rf"^auth\.mode: invalid value '{shown}': server\.host .*kubernetes.*tokens"
    ):
        AuthConfig(mode=mode).mode_on(host)


def test_tokens_and_mode_belong_together(tmp_path):
    with pytest.raises(SettingsError, match=r"^auth\.tokens: .* at least one identity"):
        AuthConfig(mode=AuthMode.TOKENS).mode_on("127.0.0.1")
    with pytest.raises(SettingsError, match=r"^auth\.mode: .*only with auth\.mode: tokens"):
        AuthConfig(tokens=(TokenConfig(identity="a", file=tmp_path),)).mode_on("127.0.0.1")


def test_section_is_read_from_a_file(tmp_path):
    config = load(
        AuthConfig,
        {
            "mode": "tokens",
            "tokens": [{"identity": "auditor", "file": str(tmp_path / "token"), "permissions": ["read"]}],
            "rateLimit": {"requestsPerSecond": 50},
        },
    )

    assert config.mode_on("10.0.0.7") is AuthMode.TOKENS
    assert config.tokens == (TokenConfig(identity="auditor", file=tmp_path / "token", permissions=(Permission.READ,)),)
    assert config.rate_limit.requests_per_second == 50


def test_bucket_fills_again_and_memory_is_bounded():
    now = 100.0
    limiter = RateLimiter(RateLimitConfig(requests_per_second=2, burst=1), clock=lambda: now)

    assert limiter.check("a") is None
    assert limiter.check("a").delay == 0.5
    now += 0.5
    assert limiter.check("a") is None
    for number in range(20_000):
        limiter.check(f"client {number}")
    assert len(limiter) == 10_000


def test_all_clients_together_have_a_limit_as_well():
    now = 100.0
    limiter = RateLimiter(
        RateLimitConfig(requests_per_second=1, burst=2, total_requests_per_second=4, total_burst=3), clock=lambda: now
    )

    assert [limiter.check("a"), limiter.check("b"), limiter.check("b")] == [None] * 3
    exceeded = limiter.check("a")
    assert (exceeded.delay, exceeded.reason) == (0.25, "all clients together send more than 4 requests per second")
    assert limiter.check("b").reason == "b sends more than 1 requests per second"
    now += 0.25
    assert limiter.check("c") is None


async def test_invalid_tokens_of_an_address_are_limited_and_its_known_clients_are_not(tmp_path: Path):
    async with open_http(token_files(tmp_path, known=(Permission.READ,), new=(Permission.READ,))) as client:
        assert (await client.get("/events", headers=bearer("known"))).status_code == 200

        statuses = [(await client.get("/events", headers=bearer(f"guess-{n}"))).status_code for n in range(5)]
        limited = await client.get("/events", headers=bearer("new"))

        assert statuses == [401, 401, 401, 429, 429]
        assert limited.status_code == 429
        assert int(limited.headers["retry-after"]) > 0
        assert (await client.get("/events", headers=bearer("known"))).status_code == 200


async def test_requests_without_a_token_and_outages_are_no_failures(tmp_path: Path):
    async with open_http(token_files(tmp_path, known=(Permission.READ,))) as client:
        assert {(await client.get("/events")).status_code for _ in range(5)} == {401}
        assert (await client.get("/events", headers=bearer("known"))).status_code == 200
    async with open_http(Unreachable()) as client:
        assert {(await client.get("/events", headers=bearer("known"))).status_code for _ in range(5)} == {503}
