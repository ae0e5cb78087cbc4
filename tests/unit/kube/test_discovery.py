"""How often a server is asked for kinds, and what one broken group hides."""

from collections import Counter
from pathlib import Path

import pytest

from kubernaut.kube import discovery as discovery_module
from kubernaut.kube.client import ClientConfig, open_client
from kubernaut.kube.discovery import Discovery
from kubernaut.kube.errors import KubeError
from support.logs import capture_logs
from support.scripted_api import Call, open_scripted_api


def a_resource(name: str, kind: str, **more: object) -> dict[str, object]:
    return {"name": name, "kind": kind, "namespaced": True, "singularName": "", "verbs": ["get", "list"], **more}


class Server:
    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.broken: set[str] = set()
        self.hanging: set[str] = set()
        self.resources = {
            "/api/v1": [
                a_resource("pods", "Pod"),
                a_resource("pods/log", "Pod"),
                a_resource("services", "Service"),
                a_resource("bindings", "Binding", verbs=["create"]),
            ],
            "/apis/apps/v1": [a_resource("deployments", "Deployment", singularName="deployment")],
            "/apis/extensions/v1beta1": [a_resource("deployments", "Deployment")],
            "/apis/serving.example.com/v1": [a_resource("services", "Service", singularName="service")],
        }

    async def __call__(self, call: Call) -> None:
        self.asked[call.path] += 1
        if call.path in self.hanging:
            await call.stay_idle()
        if call.path in self.broken:
            await call.reject(503, "ServiceUnavailable", "no endpoints")
        elif call.path == "/apis":
            paths = [path.removeprefix("/apis/") for path in self.resources if path.startswith("/apis/")]
            versions = {path.split("/")[0]: {"groupVersion": path} for path in sorted(paths, reverse=True)}
            await call.respond(
                {
                    "groups": [
                        {"name": name, "versions": [version], "preferredVersion": version}
                        for name, version in versions.items()
                    ]
                }
            )
        elif call.path in self.resources:
            await call.respond({"resources": self.resources[call.path]})
        else:
            await call.respond(b"404 page not found", 404)


async def test_known_kind_is_not_fetched_again(tmp_path: Path):
    server = Server()
    async with open_scripted_api(server, tmp_path) as file, open_client(ClientConfig(kubeconfig=file)) as client:
        discovery = Discovery(client, refresh_interval=0.0)
        for _ in range(3):
            assert await discovery.kind("apps/v1", "Deployment") is not None

    assert server.asked == {"/apis/apps/v1": 1}


async def test_unknown_kinds_are_fetched_once_per_refresh_interval(tmp_path: Path):
    server = Server()
    async with open_scripted_api(server, tmp_path) as file, open_client(ClientConfig(kubeconfig=file)) as client:
        discovery = Discovery(client, refresh_interval=60.0)
        for number in range(5):
            assert await discovery.kind("apps/v1", f"Thing{number}") is None
            assert await discovery.kind("gone.example.com/v1", "Thing") is None
            assert await discovery.kind_by_singular_name(f"thing{number}") is None

    assert set(server.asked.values()) == {1, 2}
    assert server.asked["/apis/gone.example.com/v1"] == 1


async def test_kind_installed_later_is_found(tmp_path: Path):
    server = Server()
    async with open_scripted_api(server, tmp_path) as file, open_client(ClientConfig(kubeconfig=file)) as client:
        discovery = Discovery(client, refresh_interval=0.0)
        assert await discovery.kind_by_singular_name("rollout") is None
        server.resources["/apis/argoproj.io/v1alpha1"] = [a_resource("rollouts", "Rollout", singularName="rollout")]

        found = await discovery.kind_by_singular_name("rollout")

    assert found is not None
    assert found.api_version == "argoproj.io/v1alpha1"


async def test_singular_names_leave_out_subresources_and_unreadable_kinds(tmp_path: Path):
    async with open_scripted_api(Server(), tmp_path) as file, open_client(ClientConfig(kubeconfig=file)) as client:
        discovery = Discovery(client)
        called = {
            name: await discovery.kinds_called(name) for name in ("pod", "service", "deployment", "status", "review")
        }

    assert {name: [kind.api_version for kind in kinds] for name, kinds in called.items()} == {
        "pod": ["v1"],
        "service": ["v1", "serving.example.com/v1"],
        "deployment": ["apps/v1"],
        "status": [],
        "review": [],
    }


async def test_one_broken_group_hides_only_itself(tmp_path: Path):
    server = Server()
    server.broken = {"/apis/serving.example.com/v1"}
    with capture_logs() as logs:
        async with open_scripted_api(server, tmp_path) as file, open_client(ClientConfig(kubeconfig=file)) as client:
            discovery = Discovery(client)
            names = ("pod", "service", "deployment")
            called = [await discovery.kinds_called(name) for name in names]

    assert [[kind.api_version for kind in kinds] for kinds in called] == [["v1"], ["v1"], ["apps/v1"]]
    assert [line["api_version"] for line in logs] == ["serving.example.com/v1"]


async def test_response_that_is_no_discovery_document_raises(tmp_path: Path):
    async def script(call: Call) -> None:
        await call.respond(b"<html>")

    async with open_scripted_api(script, tmp_path) as file, open_client(ClientConfig(kubeconfig=file)) as client:
        with pytest.raises(KubeError, match="not the discovery document"):
            await Discovery(client).kind("v1", "Pod")


async def test_a_group_that_hangs_costs_its_timeout_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(discovery_module, "GROUP_TIMEOUT", 1.0)
    server = Server()
    server.hanging = {"/apis/serving.example.com/v1"}
    with capture_logs():
        async with open_scripted_api(server, tmp_path) as file, open_client(ClientConfig(kubeconfig=file)) as client:
            discovery = Discovery(client)
            called = [await discovery.kinds_called(name) for name in ("deployment", "service")]
            for _ in range(3):
                with pytest.raises(KubeError, match="no answer within"):
                    await discovery.kind("serving.example.com/v1", "Service")

    assert [[kind.api_version for kind in kinds] for kinds in called] == [["apps/v1"], ["v1"]]
    assert server.asked["/apis/serving.example.com/v1"] == 1
