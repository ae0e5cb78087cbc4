"""The Helm chart on an API server: what it installs is admitted, and the services work with exactly its permissions."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import uuid4

import pytest
import yaml

from kubernaut.api.crds import all_crds
from kubernaut.api.signals import Phase, SignalProcessing
from kubernaut.embedded.kubernetes import KubernetesConfig, open_kubernetes
from kubernaut.kube.client import ListOptions
from kubernaut.kube.crds import ensure_crds
from kubernaut.kube.errors import KubeError
from kubernaut.kube.objects import Unstructured
from kubernaut.signalprocessing.kinds import SIGNAL
from support.alerts import a_webhook, an_alert
from support.chart import EXTERNAL, RELEASE, TRIAL, helm_program, render
from support.eventually import eventually
from support.kinds import EVENT, NAMESPACE, POD, a_pod
from support.release import Release, Services, make_ledger_keys, open_release, open_services

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(180)]

CRDS = {("CustomResourceDefinition", crd["metadata"]["name"]) for crd in all_crds()}
WEBHOOK = "/api/v1/signals/prometheus"


@pytest.fixture
async def release(kubernetes_with_crds, tmp_path) -> AsyncIterator[Release]:
    helm_program()
    async with open_release(kubernetes_with_crds, tmp_path) as opened:
        yield opened


def a_definition_of_anything(plural: str, kind: str) -> dict[str, Any]:
    """A CRD of the Prometheus operator's group that takes every object."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.monitoring.coreos.com"},
        "spec": {"group": "monitoring.coreos.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }


@pytest.fixture
async def own_release(tmp_path) -> AsyncIterator[Release]:
    """On an API server of its own, which has no CRD of ours."""
    helm_program()
    env = {name: value for name, value in os.environ.items() if name == "KUBEBUILDER_ASSETS"}
    config = KubernetesConfig(directory=tmp_path / "kubernetes", env=env, durable=False)
    async with open_kubernetes(config) as api, open_release(api.kubeconfig, tmp_path) as opened:
        yield opened


async def test_install_upgrade_rollback_and_uninstall(own_release):
    release = own_release
    monitors, rules = ("servicemonitors", "ServiceMonitor"), ("prometheusrules", "PrometheusRule")
    await ensure_crds(release.client, [a_definition_of_anything(*monitors), a_definition_of_anything(*rules)])

    await release.install(TRIAL)
    assert await installed(release) == rendered(release, TRIAL)
    before = await secrets(release)
    await release.install({**EXTERNAL, **TRIAL, "gateway": {"replicas": 2}}, "upgrade")
    assert await secrets(release) == before  # what an install made, an upgrade keeps
    assert {("PodDisruptionBudget", "gateway"), ("PrometheusRule", "kubernaut")} <= await installed(release)
    await release.install(EXTERNAL, "upgrade")
    assert {kind for kind, _ in await installed(release)} >= {"ServiceMonitor", "ConfigMap", "NetworkPolicy"}
    await release.helm("rollback", RELEASE, "1", "--no-hooks")
    assert await installed(release) == rendered(release, TRIAL)
    manifest = await release.helm("get", "manifest", RELEASE)
    await release.helm("uninstall", RELEASE, "--no-hooks")
    assert await existing(release, manifest) == CRDS  # kept, with all signals


def rendered(release: Release, values: Mapping[str, Any]) -> set[tuple[str, str]]:
    manifests = render(release.folder, values, "--no-hooks", namespace=release.namespace)
    return {(each["kind"], each["metadata"]["name"]) for each in manifests}


async def installed(release: Release) -> set[tuple[str, str]]:
    """Kind and name of every object of the release that the server has."""
    return await existing(release, await release.helm("get", "manifest", RELEASE))


async def existing(release: Release, manifest: str) -> set[tuple[str, str]]:
    found = set()
    for each in yaml.load_all(manifest, yaml.CSafeLoader):
        if each and await exists(release, each):
            found.add((each["kind"], each["metadata"]["name"]))
    return found


async def exists(release: Release, manifest: Unstructured) -> bool:
    kinds = {
        "ClusterRole": "clusterroles",
        "ClusterRoleBinding": "clusterrolebindings",
        "NetworkPolicy": "networkpolicies",
    }
    plural = kinds.get(manifest["kind"], manifest["kind"].lower() + "s")
    group, _, version = manifest["apiVersion"].rpartition("/")
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    where = "" if manifest["kind"].startswith(("Cluster", "CustomResource")) else f"/namespaces/{release.namespace}"
    try:
        await release.client.get_raw(f"{root}{where}/{plural}/{manifest['metadata']['name']}")
    except KubeError:
        return False
    return True


async def secrets(release: Release) -> str:
    return await asyncio.to_thread(
        lambda: (
            subprocess.run(
                [
                    "kubectl",
                    "--kubeconfig",
                    release.kubeconfig,
                    "-n",
                    release.namespace,
                    "get",
                    "secrets",
                    "-l",
                    "app.kubernetes.io/name=kubernaut",
                    "-o",
                    "jsonpath={.items[*].data}",
                ],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
    )


@pytest.fixture
async def rbac(release) -> None:
    """Skips on a server that makes no tokens, or that lets everybody do everything."""
    try:
        token = await release.new_account("nobody")
    except KubeError as error:
        pytest.skip(f"this API server has no TokenRequest: {error}")
    spec = {
        "user": f"system:serviceaccount:{release.namespace}:nobody",
        "resourceAttributes": {"verb": "list", "resource": "pods"},
    }
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    try:
        answer = await release.client.post_raw("/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
    except KubeError as error:
        pytest.skip(f"this API server has no SubjectAccessReview: {error}")
    if yaml.safe_load(answer)["status"]["allowed"]:
        pytest.skip("this API server has no RBAC")
    assert token


@pytest.fixture
async def services(release, rbac, migrated_database) -> AsyncIterator[Services]:
    await release.install()
    await make_ledger_keys(release)
    async with open_services(release, migrated_database) as opened:
        yield opened


async def test_a_signal_goes_from_alertmanager_to_the_ledger_with_the_chart_s_permissions(release, services):
    sender, auditor = await release.new_account("alertmanager"), await release.new_account("auditor")
    shop = f"shop-{uuid4().hex[:6]}"
    labels = {"kubernaut.ai/environment": "production"}
    await release.client.create(NAMESPACE, {"metadata": {"name": shop, "labels": labels}})
    await release.client.create(POD, a_pod(shop, "api-1"))

    alert = a_webhook(an_alert("KubePodCrashLooping", namespace=shop, pod="api-1"))
    async with services.http("gateway", sender) as gateway, services.http("datastorage", auditor) as datastorage:
        stored = await gateway.post(WEBHOOK, json=alert)
        assert stored.status_code == 201, stored.text
        signal = await eventually(lambda: completed_signal(release), timeout=30)
        correlation = signal.spec.remediation_request_ref.name

        async def timeline_is_complete() -> Any:
            answer = await datastorage.get(f"/api/v1/audit/events?correlation_id={correlation}&limit=100")
            events = answer.json()["data"]
            categories = {event["event_category"] for event in events}
            return events if categories == {"gateway", "signalprocessing"} and len(events) >= 8 else None

        events = await eventually(timeline_is_complete, timeout=30)
        verified = await datastorage.post("/api/v1/audit/verify-chain", json={"correlation_id": correlation})

        # Authentication is on everywhere: neither nobody nor the other one gets in.
        assert (await gateway.post(WEBHOOK, json=alert, headers={"authorization": "Bearer nobodys"})).status_code == 401
        assert (await datastorage.post("/api/v1/audit/events", json={})).status_code == 403
        assert (await gateway.get("/metrics")).status_code == 200
    async with services.http("datastorage", sender) as stranger:
        assert (await stranger.get("/api/v1/audit/events")).status_code == 403

    assert verified.json()["is_valid"], verified.text
    assert len({event["event_id"] for event in events}) == len(events)
    assert signal.status.environment_classification.environment == "Production"
    assert not signal.status.kubernetes_context.degraded_mode, signal.status.kubernetes_context
    await eventually(lambda: has_kubernetes_event(release), timeout=10)
    assert denied(services) == set()


def denied(services: Services) -> set[str]:
    """The kinds that a service could not list."""
    lines = [line for process in services.processes.values() for line in process.log_tail().splitlines()]
    events = [json.loads(line) for line in lines if "access denied" in line]
    return {kind for event in events for kind in event["kinds"]}


async def completed_signal(release: Release) -> SignalProcessing | None:
    found = (await release.client.list(SIGNAL, ListOptions(namespace=release.namespace))).items
    return next((each for each in found if each.status.phase is Phase.COMPLETED), None)


async def has_kubernetes_event(release: Release) -> bool:
    found = (await release.client.list(EVENT, ListOptions(namespace=release.namespace))).items
    return any(each["involvedObject"]["kind"] == "SignalProcessing" for each in found)
