"""The gateway and DataStorage as strangers, senders and auditors meet them, with a real API server behind both."""

import os
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import msgspec
import pytest
import yaml
from prometheus_client import CollectorRegistry

from kubernaut.api.crds import all_crds
from kubernaut.api.events import AuditEvent
from kubernaut.audit import AuditConfig, RetryConfig, SpoolConfig, open_audit
from kubernaut.audit import ClientConfig as AuditClientConfig
from kubernaut.audit import open_client as open_audit_client
from kubernaut.audit.errors import StoreUnauthorized, StoreUnreachable
from kubernaut.cli.app import app
from kubernaut.datastorage.config import ActorConfig
from kubernaut.datastorage.service import open_service as open_datastorage
from kubernaut.embedded.kubernetes import pocketkube
from kubernaut.embedded.process import open_process
from kubernaut.gateway.config import DataStorageConfig, GatewayConfig, IntakeConfig, ServerConfig
from kubernaut.gateway.service import open_service as open_gateway
from kubernaut.kube.client import Client, ClientConfig, open_client
from kubernaut.kube.crds import ensure_crds
from kubernaut.kube.errors import KubeError
from kubernaut.kube.objects import Key, Kind, Unstructured
from kubernaut.ops.http.auth_config import AuthConfig, AuthMode, ReviewConfig, TokenConfig
from kubernaut.ops.http.authentication import Permission
from kubernaut.ops.http.rate_limit import RateLimitConfig
from kubernaut.ops.http.tls import TlsConfig
from kubernaut.ops.settings import SettingsError
from support.alerts import a_webhook, an_alert
from support.certificates import write_certificate
from support.datastorage import BATCH, EVENTS, JSON, VERIFY, config_for
from support.eventually import eventually
from support.kinds import NAMESPACE
from support.ledger_events import a_body, a_wire_event

pytestmark = pytest.mark.kubernetes

WEBHOOK = "/api/v1/signals/prometheus"
ACCOUNT = Kind(version="v1", kind="ServiceAccount", plural="serviceaccounts", type=Unstructured)
ROLE = Kind(group="rbac.authorization.k8s.io", version="v1", kind="Role", plural="roles", type=Unstructured)
BINDING = replace(ROLE, kind="RoleBinding", plural="rolebindings")
PROBLEMS = "https://kubernaut.ai/problems/"


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def admin_token(kubeconfig: Path) -> str:
    token: str = yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["token"]
    return token


def slug_of(answer: httpx2.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return str(answer.json()["type"]).removeprefix(PROBLEMS)


class Accounts:
    """ServiceAccounts in a namespace, and what each may do."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self.namespace = namespace

    async def token(self, name: str, service: str = "", *verbs: str) -> str:
        """The token of a new account, which may do the verbs on a service."""
        metadata = {"name": name, "namespace": self.namespace}
        await self._client.create(ACCOUNT, {"metadata": metadata})
        if verbs:
            rule = {"apiGroups": [""], "resources": ["services"], "resourceNames": [service], "verbs": list(verbs)}
            await self._client.create(ROLE, {"metadata": metadata, "rules": [rule]})
            subject = {"kind": "ServiceAccount", "name": name, "namespace": self.namespace}
            role = {"apiGroup": ROLE.group, "kind": "Role", "name": name}
            await self._client.create(BINDING, {"metadata": metadata, "subjects": [subject], "roleRef": role})
        return await self.another_token(name)

    async def another_token(self, name: str) -> str:
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{name}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        answer = msgspec.json.decode(await self._client.post_raw(path, body))
        token: str = answer["status"]["token"]
        return token

    async def delete(self, name: str) -> None:
        await self._client.delete(ACCOUNT, Key(self.namespace, name))

    def user(self, name: str) -> str:
        return f"system:serviceaccount:{self.namespace}:{name}"


@pytest.fixture
async def client(kubernetes_with_crds: Path) -> AsyncIterator[Client]:
    async with open_client(ClientConfig(kubeconfig=kubernetes_with_crds, field_manager="test")) as opened:
        yield opened


@pytest.fixture
async def token_reviews(client: Client) -> None:
    """Skips on a server that cannot be asked whose a token is."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "of-nobody"}}
    try:
        await client.post_raw("/apis/authentication.k8s.io/v1/tokenreviews", body)
    except KubeError as error:
        pytest.skip(f"this API server has no TokenReview: {error}")


@pytest.fixture
async def accounts(client: Client) -> Accounts:
    """Skips on a server that makes no tokens or lets everybody do everything, as the embedded one does."""
    accounts = Accounts(client, f"access-{uuid4().hex[:8]}")
    await client.create(NAMESPACE, {"metadata": {"name": accounts.namespace}})
    try:
        token = await accounts.token("nobody")
    except KubeError as error:
        pytest.skip(f"this API server has no TokenRequest: {error}")
    spec = {"user": accounts.user("nobody"), "resourceAttributes": {"verb": "create", "resource": "services"}}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    try:
        review = await client.post_raw("/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
    except KubeError as error:
        pytest.skip(f"this API server has no SubjectAccessReview: {error}")
    if msgspec.json.decode(review)["status"]["allowed"]:
        pytest.skip("this API server has no RBAC")
    assert token
    return accounts


@asynccontextmanager
async def open_http(url: str, ca_file: Path | None = None) -> AsyncIterator[httpx2.AsyncClient]:
    verify = ssl.create_default_context(cafile=ca_file) if ca_file else True
    async with httpx2.AsyncClient(base_url=url, timeout=20, trust_env=False, verify=verify) as http:
        yield http


@asynccontextmanager
async def gateway_of(
    kubeconfig: Path, namespace: str, tmp_path: Path, auth: AuthConfig, **datastorage: Any
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client, without a token, of a gateway that is ready."""
    config = GatewayConfig(
        kubeconfig=kubeconfig,
        server=ServerConfig(host="127.0.0.1", port=0, shutdown_timeout=2),
        auth=auth,
        intake=IntakeConfig(namespace=namespace),
        datastorage=DataStorageConfig(
            **{"url": "http://127.0.0.1:9", "spool_dir": tmp_path / "spool", "drain_timeout": 1} | datastorage
        ),
    )
    async with open_gateway(config) as server, open_http(server.url) as http:

        async def is_ready() -> bool:
            return (await http.get("/readyz")).status_code == 200

        await eventually(is_ready, description="the gateway is ready", timeout=30)
        yield http


async def post_alert(http: httpx2.AsyncClient, token: str, name: str = "KubePodCrashLooping") -> httpx2.Response:
    return await http.post(
        WEBHOOK, json=a_webhook(an_alert(name, namespace="shop", pod="cart-1")), headers=bearer(token)
    )


@pytest.mark.usefixtures("token_reviews")
async def test_gateway_takes_alerts_of_whom_the_api_server_knows(kubernetes_with_crds, client, tmp_path):
    namespace = f"gw-{uuid4().hex[:8]}"
    await client.create(NAMESPACE, {"metadata": {"name": namespace}})
    auth = AuthConfig(mode=AuthMode.KUBERNETES)
    async with gateway_of(kubernetes_with_crds, namespace, tmp_path, auth) as http:
        stored = await post_alert(http, admin_token(kubernetes_with_crds))
        unknown = await post_alert(http, "nobodys-token-0123456789")
        without = await http.post(WEBHOOK, json=a_webhook(an_alert(namespace="shop", pod="cart-1")))
        metrics = (await http.get("/metrics")).text

    assert stored.status_code == 201, stored.text
    assert (unknown.status_code, slug_of(unknown)) == (401, "unauthorized")
    assert (without.status_code, slug_of(without)) == (401, "unauthorized")
    assert unknown.headers["www-authenticate"] == 'Bearer realm="kubernaut", error="invalid_token"'
    assert 'kubernaut_http_requests_rejected_total{reason="unauthorized"} 2.0' in metrics


async def test_role_decides_who_may_send_alerts(kubernetes_with_crds, accounts, tmp_path):
    sender = await accounts.token("alertmanager", "gateway-service", "create")
    reader = await accounts.token("reader", "gateway-service", "get")
    review = ReviewConfig(namespace=accounts.namespace, cache_ttl=0, negative_cache_ttl=0)
    auth = AuthConfig(mode=AuthMode.KUBERNETES, kubernetes=review)
    async with gateway_of(kubernetes_with_crds, accounts.namespace, tmp_path, auth) as http:
        stored = await post_alert(http, sender)
        forbidden = await post_alert(http, reader)
        rotated = await post_alert(http, await accounts.another_token("alertmanager"), "Rotated")
        await accounts.delete("alertmanager")

        async def is_revoked() -> bool:
            return (await post_alert(http, sender)).status_code == 401

        # kube-apiserver itself remembers a token for 10 s.
        await eventually(is_revoked, timeout=30, interval=0.5, description="the token of a deleted account is refused")

    assert (stored.status_code, rotated.status_code) == (201, 201)
    assert (forbidden.status_code, slug_of(forbidden)) == (403, "forbidden")
    assert forbidden.json()["detail"] == (
        f"{accounts.user('reader')} has no write permission: it may not create services 'gateway-service' "
        f"in namespace '{accounts.namespace}'"
    )


async def test_while_the_api_server_is_away_no_alert_is_answered_with_401(tmp_path):
    data = tmp_path / "kubernetes"
    log = tmp_path / "api.log"
    async with open_process(pocketkube(data, log)) as first:
        kubeconfig = data / "kubeconfig"

        async with open_client(ClientConfig(kubeconfig=kubeconfig)) as client:
            await ensure_crds(client, all_crds())
            await client.create(NAMESPACE, {"metadata": {"name": "kubernaut"}})
        review = ReviewConfig(cache_ttl=0, negative_cache_ttl=0, timeout=2)
        auth = AuthConfig(mode=AuthMode.KUBERNETES, kubernetes=review)
        async with gateway_of(kubeconfig, "kubernaut", tmp_path, auth) as http:
            token = admin_token(kubeconfig)
            assert (await post_alert(http, token, "Before")).status_code == 201
            os.kill(first.pid, signal.SIGKILL)
            await first.wait()

            answers = [await post_alert(http, token, "During"), await post_alert(http, "nobodys-token", "During")]

            assert [answer.status_code for answer in answers] == [503, 503]
            assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
            assert (await http.get("/livez")).status_code == 200
            async with open_process(pocketkube(data, log)):

                async def is_stored() -> bool:
                    return (await post_alert(http, token, "During")).status_code in (201, 202)

                await eventually(is_stored, timeout=20)
                assert (await post_alert(http, "nobodys-token", "After")).status_code == 401


async def test_static_token_of_a_sender_outside_the_cluster(kubernetes_with_crds, client, tmp_path):
    namespace = f"gw-{uuid4().hex[:8]}"
    await client.create(NAMESPACE, {"metadata": {"name": namespace}})
    file = tmp_path / "alertmanager"
    file.write_text("first-token-0123456789\n")
    auth = AuthConfig(
        mode=AuthMode.TOKENS,
        tokens=(TokenConfig(identity="alertmanager", file=file),),
        rate_limit=RateLimitConfig(requests_per_second=0.01, burst=3),
    )
    async with gateway_of(kubernetes_with_crds, namespace, tmp_path, auth) as http:
        first = await post_alert(http, "first-token-0123456789")
        early = await post_alert(http, "second-token-0123456789")
        file.write_text("first-token-0123456789\nsecond-token-0123456789\n")
        second = await post_alert(http, "second-token-0123456789")
        file.write_text("second-token-0123456789\n")

        async def is_revoked() -> bool:
            return (await post_alert(http, "first-token-0123456789")).status_code == 401

        await eventually(is_revoked, interval=0.3, description="the first token is refused")
        answers = [await post_alert(http, "second-token-0123456789") for _ in range(4)]

    assert (first.status_code, early.status_code, second.status_code) == (201, 401, 202)
    # An Alertmanager would not send again what was answered with 429.
    assert answers[-1].status_code == 503
    assert int(answers[-1].headers["retry-after"]) > 0


async def test_gateway_on_all_addresses_does_not_start_without_authentication(kubernetes, tmp_path):
    everywhere = ServerConfig(host="0.0.0.0")  # noqa: S104 - what is to be refused
    spool = DataStorageConfig(spool_dir=tmp_path / "spool")
    config = GatewayConfig(kubeconfig=kubernetes, server=everywhere, datastorage=spool)

    with pytest.raises(SettingsError, match=r"^auth\.mode: .*server\.host '0\.0\.0\.0'.*kubernetes.*tokens"):
        async with open_gateway(config):
            raise AssertionError("started")
    assert not (tmp_path / "spool").exists()


@asynccontextmanager
async def datastorage_with_tokens(
    database: str, tmp_path: Path
) -> AsyncIterator[tuple[httpx2.AsyncClient, dict[str, str]]]:
    """A client of DataStorage, and the token of each identity."""
    tokens = {}
    configs = []
    for name, permissions in {
        "gateway": (Permission.WRITE,),
        "stranger": (Permission.WRITE,),
        "auditor": (Permission.READ,),
    }.items():
        tokens[name] = f"{name}-token-0123456789"
        (tmp_path / name).write_text(tokens[name])
        configs.append(TokenConfig(identity=name, file=tmp_path / name, permissions=permissions))
    config = replace(
        config_for(database),
        auth=AuthConfig(mode=AuthMode.TOKENS, tokens=tuple(configs)),
        actors={"gateway": ActorConfig(actor_ids=("gateway-service",), event_categories=("gateway",))},
    )
    async with open_datastorage(config) as server, open_http(server.url) as http:
        yield http, tokens


def own_event(**changes: Any) -> dict[str, Any]:
    return a_wire_event(**{"event_category": "gateway", "actor_id": "gateway-service"} | changes)


async def test_writer_writes_its_own_events_and_reads_nothing(migrated_database, tmp_path):
    async with datastorage_with_tokens(migrated_database, tmp_path) as (http, tokens):
        batch = a_body(own_event(), own_event())
        written = await http.post(BATCH, content=batch, headers=JSON | bearer(tokens["gateway"]))
        single = await http.post(EVENTS, json=own_event(), headers=bearer(tokens["gateway"]))
        read = await http.get(EVENTS, headers=bearer(tokens["gateway"]))
        anonymous = await http.post(BATCH, content=batch, headers=JSON)
        audited = await http.get(EVENTS, headers=bearer(tokens["auditor"]))
        verified = await http.post(VERIFY, content=b"{}", headers=JSON | bearer(tokens["auditor"]))
        forged = await http.post(BATCH, content=batch, headers=JSON | bearer(tokens["auditor"]))

    assert (written.status_code, single.status_code) == (201, 201)
    assert (read.status_code, slug_of(read)) == (403, "forbidden")
    assert (anonymous.status_code, slug_of(anonymous)) == (401, "unauthorized")
    assert len(audited.json()["data"]) == 3
    assert verified.status_code == 200
    assert (forged.status_code, slug_of(forged)) == (403, "forbidden")


async def test_decision_in_anothers_name_is_refused_by_index_and_actor(migrated_database, tmp_path):
    forged = a_wire_event(actor_id="signalprocessing-controller")
    async with datastorage_with_tokens(migrated_database, tmp_path) as (http, tokens):
        headers = JSON | bearer(tokens["gateway"])
        strict = await http.post(BATCH, content=a_body(own_event(), forged), headers=headers)
        single = await http.post(EVENTS, json=forged, headers=headers)
        lenient = await http.post(
            BATCH, content=a_body(own_event(), forged), headers=headers | {"prefer": "handling=lenient"}
        )
        unlisted = await http.post(BATCH, content=a_body(own_event()), headers=JSON | bearer(tokens["stranger"]))
        stored = (await http.get(EVENTS, headers=bearer(tokens["auditor"]))).json()["data"]

    assert (strict.status_code, slug_of(strict)) == (403, "forbidden")
    assert strict.json()["index"] == 1
    assert "signalprocessing-controller" in strict.json()["detail"]
    assert single.status_code == 403
    assert [result["status"] for result in lenient.json()["results"]] == [201, 403]
    assert unlisted.status_code == 403
    assert [event["actor_id"] for event in stored] == ["gateway-service"]


async def test_audit_client_sends_the_token_of_its_file(migrated_database, tmp_path):
    async with datastorage_with_tokens(migrated_database, tmp_path) as (http, _):
        url = str(http.base_url)
        async with open_audit_client(AuditClientConfig(url=url, token_file=tmp_path / "auditor")) as auditor:
            assert (await auditor.query()).data == []
        async with open_audit_client(AuditClientConfig(url=url)) as stranger:
            with pytest.raises(StoreUnauthorized, match="401"):
                await stranger.query()


async def test_events_wait_while_the_token_is_wrong_or_that_of_another_actor(migrated_database, tmp_path):
    token_file = tmp_path / "own-token"
    token_file.write_text("expired-token-0123456789")
    async with datastorage_with_tokens(migrated_database, tmp_path) as (http, tokens):
        config = AuditConfig(
            spool=SpoolConfig(directory=tmp_path / "spool"),
            client=AuditClientConfig(url=str(http.base_url), token_file=token_file),
            retry=RetryConfig(initial_delay=0.05, max_delay=0.1),
            drain_timeout=0,
        )
        async with open_audit(config, "gateway", CollectorRegistry()) as audit:
            audit.record([msgspec.json.decode(msgspec.json.encode(own_event()), type=AuditEvent)])
            unauthorized = await audit.flush(0.5)
            token_file.write_text(tokens["stranger"])
            forbidden = await audit.flush(0.5)
            token_file.write_text(tokens["gateway"])
            delivered = await audit.flush(10)
        stored = (await http.get(EVENTS, headers=bearer(tokens["auditor"]))).json()["data"]

    assert (unauthorized.waiting, forbidden.waiting, delivered.waiting) == (1, 1, 0)
    assert delivered.quarantined == 0
    assert len(stored) == 1


async def test_while_the_api_server_is_away_no_event_is_answered_with_401(migrated_database, tmp_path):
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        '{"apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {}}],'
        ' "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],'
        ' "clusters": [{"name": "k", "cluster": {"server": "http://127.0.0.1:9"}}]}'
    )
    config = replace(
        config_for(migrated_database),
        kubeconfig=kubeconfig,
        auth=AuthConfig(mode=AuthMode.KUBERNETES),
        actors={"gateway": ActorConfig(actor_ids=("gateway-service",))},
    )
    async with open_datastorage(config) as server, open_http(server.url) as http:
        written = await http.post(BATCH, content=a_body(own_event()), headers=JSON | bearer("a-token-0123456789"))
        read = await http.get(EVENTS, headers=bearer("a-token-0123456789"))
        ready = await http.get("/readyz")

    assert (written.status_code, read.status_code, ready.status_code) == (503, 503, 200)
    assert int(written.headers["retry-after"]) > 0


async def test_audit_client_checks_the_certificate(migrated_database, tmp_path):
    tls = TlsConfig(cert_file=tmp_path / "tls.crt", key_file=tmp_path / "tls.key")
    write_certificate(tmp_path / "tls.crt", tmp_path / "tls.key", "datastorage")
    plain = config_for(migrated_database)
    async with open_datastorage(replace(plain, server=replace(plain.server, tls=tls))) as server:
        async with open_audit_client(AuditClientConfig(url=server.url, ca_file=tls.cert_file)) as store:
            assert (await store.query()).data == []
        async with open_audit_client(AuditClientConfig(url=server.url)) as store:
            with pytest.raises(StoreUnreachable, match="certificate verify failed"):
                await store.query()
    with pytest.raises(SettingsError, match=r"^caFile: .*No such file"):
        async with open_audit_client(AuditClientConfig(ca_file=tmp_path / "nothing")):
            raise AssertionError("opened")


async def test_audit_client_trusts_new_certificates_as_soon_as_its_file_has_them(migrated_database, tmp_path):
    tls = TlsConfig(cert_file=tmp_path / "tls.crt", key_file=tmp_path / "tls.key")
    write_certificate(tmp_path / "tls.crt", tmp_path / "tls.key", "datastorage")
    ca_file = tmp_path / "ca.crt"
    write_certificate(ca_file, tmp_path / "other.key", "another-ca")
    plain = config_for(migrated_database)
    async with (
        open_datastorage(replace(plain, server=replace(plain.server, tls=tls))) as server,
        open_audit_client(AuditClientConfig(url=server.url, ca_file=ca_file)) as store,
    ):
        with pytest.raises(StoreUnreachable, match="certificate verify failed"):
            await store.query()
        ca_file.unlink()
        with pytest.raises(StoreUnreachable, match="caFile"):
            await store.query()

        ca_file.write_bytes(tls.cert_file.read_bytes())

        assert (await store.query()).data == []


async def test_commands_check_the_certificate(migrated_database, tmp_path, capsys, monkeypatch):
    tls = TlsConfig(cert_file=tmp_path / "tls.crt", key_file=tmp_path / "tls.key")
    write_certificate(tmp_path / "tls.crt", tmp_path / "tls.key", "datastorage")
    plain = config_for(migrated_database)

    async def kubernaut(*arguments: str) -> int:
        command, bound, _ = app.parse_args(["audit", *arguments], exit_on_error=False, print_error=False)
        code: int = await command(*bound.args, **bound.kwargs)
        return code

    async with open_datastorage(replace(plain, server=replace(plain.server, tls=tls))) as server:
        for arguments in (["query"], ["verify"], ["hold", "list"]):
            assert await kubernaut(*arguments, "--url", server.url, "--ca-file", str(tls.cert_file)) == 0
            with pytest.raises(StoreUnreachable, match="certificate verify failed"):
                await kubernaut(*arguments, "--url", server.url)
        monkeypatch.setenv("KUBERNAUT_DATASTORAGE_CA_FILE", str(tls.cert_file))
        assert await kubernaut("query", "--url", server.url) == 0


async def test_alert_reaches_the_ledger_in_the_gateways_own_name(
    kubernetes_with_crds, accounts, migrated_database, tmp_path
):
    """Both services ask the API server; the gateway has its account's token for DataStorage, which speaks TLS."""
    tls = TlsConfig(cert_file=tmp_path / "tls.crt", key_file=tmp_path / "tls.key")
    write_certificate(tmp_path / "tls.crt", tmp_path / "tls.key", "datastorage")
    sender = await accounts.token("alertmanager", "gateway-service", "create")
    (tmp_path / "token").write_text(await accounts.token("gateway", "data-storage-service", "create"))
    auditor = await accounts.token("auditor", "data-storage-service", "get")
    auth = AuthConfig(mode=AuthMode.KUBERNETES, kubernetes=ReviewConfig(namespace=accounts.namespace))
    plain = config_for(migrated_database)
    store_config = replace(
        plain,
        server=replace(plain.server, tls=tls),
        kubeconfig=kubernetes_with_crds,
        auth=auth,
        actors={accounts.user("gateway"): ActorConfig(actor_ids=("gateway-service",), event_categories=("gateway",))},
    )
    async with (
        open_datastorage(store_config) as store,
        open_http(store.url, tls.cert_file) as http,
        gateway_of(
            kubernetes_with_crds,
            accounts.namespace,
            tmp_path,
            auth,
            url=store.url,
            token_file=tmp_path / "token",
            ca_file=tls.cert_file,
        ) as gateway,
    ):
        assert (await post_alert(gateway, sender)).status_code == 201

        async def events() -> list[dict[str, Any]]:
            answer = await http.get(EVENTS, headers=bearer(auditor))
            assert answer.status_code == 200, answer.text
            found: list[dict[str, Any]] = answer.json()["data"]
            return found

        stored = await eventually(events, description="the audit events arrive")
        forged = await http.post(BATCH, content=a_body(a_wire_event()), headers=JSON | bearer(auditor))

    assert {event["actor_id"] for event in stored} == {"gateway-service"}
    assert forged.status_code == 403
