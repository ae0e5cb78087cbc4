"""From kubeconfigs to the Authorization header."""

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubernaut.kube.client import Client, ClientConfig, open_client
from kubernaut.kube.credentials import read_config
from kubernaut.kube.errors import Misconfigured, Unauthorized
from kubernaut.kube.kubeconfig import default_kubeconfigs, minified
from kubernaut.kube.objects import Key, Kind, PartialObjectMetadata
from support.scripted_api import Call, an_object, open_scripted_api

CONFIGMAP = Kind(version="v1", kind="ConfigMap", plural="configmaps", type=PartialObjectMetadata)
KEY = Key("shop", "a")


class Guard:
    """A server that lets in whoever shows one of its tokens, and remembers what it was shown."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = set(tokens)
        self.shown: list[str] = []

    async def __call__(self, call: Call) -> None:
        token = call.headers.get("authorization", "").removeprefix("Bearer ")
        self.shown.append(token)
        if token in self.tokens:
            await call.respond(an_object())
        else:
            await call.reject(401, "Unauthorized", "Unauthorized")


@asynccontextmanager
async def as_user(user: dict[str, Any], guard: Guard, directory: Path) -> AsyncIterator[Client]:
    async with open_scripted_api(guard, directory) as kubeconfig:
        config = json.loads(kubeconfig.read_text())
        config["users"] = [{"name": "u", "user": user}]
        config["contexts"][0]["context"] |= {"user": "u", "namespace": "shop"}
        kubeconfig.write_text(yaml.safe_dump(config))
        async with open_client(ClientConfig(kubeconfig=kubeconfig, timeout=5.0)) as client:
            yield client


def a_plugin(directory: Path, body: str, version: str = "v1") -> dict[str, Any]:
    script = directory / "plugin.py"
    script.write_text(body)
    return {
        "exec": {
            "apiVersion": f"client.authentication.k8s.io/{version}",
            "command": sys.executable,
            "args": [str(script)],
            "env": [{"name": "PLUGIN_TOKEN", "value": "from-plugin"}],
            "interactiveMode": "Never",
        }
    }


PRINT_TOKEN = """
import json, os, pathlib
asked = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
count = pathlib.Path(__file__).with_suffix(".count")
number = len(count.read_text()) if count.exists() else 0
count.write_text("x" * (number + 1))
status = {"token": f"{os.environ['PLUGIN_TOKEN']}-{number}"}
if number == 0 and "EXPIRES" in globals():
    status["expirationTimestamp"] = EXPIRES
print(json.dumps({"apiVersion": asked["apiVersion"], "kind": "ExecCredential", "status": status}))
"""


async def test_token_of_the_kubeconfig_is_sent(tmp_path: Path):
    guard = Guard("secret")
    async with as_user({"token": "secret"}, guard, tmp_path) as client:
        await client.get(CONFIGMAP, KEY)
        assert client.namespace == "shop"

    assert guard.shown == ["secret"]


async def test_wrong_token_is_unauthorized_and_not_in_the_text(tmp_path: Path):
    async with as_user({"token": "wrong-token"}, Guard("secret"), tmp_path) as client:
        with pytest.raises(Unauthorized) as raised:
            await client.get(CONFIGMAP, KEY)

    assert "wrong-token" not in str(raised.value)


async def test_rotated_token_file_is_read_again_after_401(tmp_path: Path):
    file = tmp_path / "token"
    file.write_text("old\n")
    guard = Guard("old")
    async with as_user({"tokenFile": str(file)}, guard, tmp_path) as client:
        await client.get(CONFIGMAP, KEY)
        guard.tokens = {"new"}
        file.write_text("new\n")
        await client.get(CONFIGMAP, KEY)

    assert guard.shown == ["old", "old", "new"]


async def test_missing_token_file_is_unauthorized(tmp_path: Path):
    async with as_user({"tokenFile": str(tmp_path / "none")}, Guard(), tmp_path) as client:
        with pytest.raises(Unauthorized, match="none not found"):
            await client.get(CONFIGMAP, KEY)


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
async def test_plugin_runs_once_and_again_after_401(tmp_path: Path, version: str):
    guard = Guard("from-plugin-0")
    async with as_user(a_plugin(tmp_path, PRINT_TOKEN, version), guard, tmp_path) as client:
        await client.get(CONFIGMAP, KEY)
        await client.get(CONFIGMAP, KEY)
        guard.tokens = {"from-plugin-1"}
        await client.get(CONFIGMAP, KEY)

    assert guard.shown == ["from-plugin-0", "from-plugin-0", "from-plugin-0", "from-plugin-1"]


async def test_plugin_runs_again_before_its_token_expires(tmp_path: Path):
    soon = (datetime.now(UTC) + timedelta(seconds=5)).isoformat()
    guard = Guard("from-plugin-0", "from-plugin-1")
    async with as_user(a_plugin(tmp_path, f"EXPIRES = {soon!r}\n{PRINT_TOKEN}"), guard, tmp_path) as client:
        await client.get(CONFIGMAP, KEY)
        await client.get(CONFIGMAP, KEY)
        await client.get(CONFIGMAP, KEY)

    assert guard.shown == ["from-plugin-0", "from-plugin-1", "from-plugin-1"]


@pytest.mark.parametrize(
    ("body", "said"), [("raise SystemExit(3)", "exited with 3"), ("print('secret')", "not an ExecCredential")]
)
async def test_plugin_that_fails_is_named_without_its_output(tmp_path: Path, body: str, said: str):
    async with as_user(a_plugin(tmp_path, body), Guard(), tmp_path) as client:
        with pytest.raises(Unauthorized, match=said) as raised:
            await client.get(CONFIGMAP, KEY)

    assert "secret" not in str(raised.value)


async def test_unknown_plugin_protocol_is_a_misconfiguration(tmp_path: Path):
    with pytest.raises(Misconfigured, match="v9 is not supported"):
        async with as_user(a_plugin(tmp_path, "", "v9"), Guard(), tmp_path):
            pass


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "No current context"),
        ("token: [", "not valid YAML, line 1"),
        ("clusters: []\ncontexts: []\nusers: []\n", "No current context"),
        ("current-context: x\nclusters: []\ncontexts: []\nusers: []\n", "'x' not found"),
        ("clusters: [{name: a, cluster: {server: [topsecret]}}]\n", "each a list of names and values"),
    ],
)
async def test_unusable_kubeconfig_is_named_and_not_quoted(tmp_path: Path, content: str, said: str):
    file = tmp_path / "config"
    file.write_text(content)

    with pytest.raises(Misconfigured, match=re.escape(said)) as raised:
        async with open_client(ClientConfig(kubeconfig=file)):
            pass

    assert str(file) in str(raised.value)
    assert "topsecret" not in str(raised.value)


async def test_missing_kubeconfig_is_named(tmp_path: Path):
    with pytest.raises(Misconfigured, match=r"no such file: .*none"):
        async with open_client(ClientConfig(kubeconfig=tmp_path / "none")):
            pass


async def test_without_a_kubeconfig_a_pod_is_expected():
    with pytest.raises(Misconfigured, match="no kubeconfig given, and not running in a pod"):
        async with open_client(ClientConfig()):
            pass


def a_kubeconfig(path: Path, *, current: str = "", server: str = "", token: str = "", **cluster: Any) -> Path:
    """One context, cluster and user, all called as the file."""
    name = path.stem
    path.parent.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {
        "clusters": [{"name": name, "cluster": {"server": server or f"https://{name}.example", **cluster}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": f"in-{name}"}}],
        "users": [{"name": name, "user": {"token": token or f"token-{name}"}}],
    }
    path.write_text(yaml.safe_dump(content | ({"current-context": current} if current else {})))
    return path


def test_several_kubeconfigs_are_merged_as_kubectl_merges_them(tmp_path: Path):
    """The first that has a value wins, and a missing or empty file is left out; kubectl itself is asked the same."""
    first = a_kubeconfig(tmp_path / "one/a.yaml", **{"certificate-authority": "ca.crt"})
    second = a_kubeconfig(tmp_path / "b.yaml", current="b")
    third = a_kubeconfig(tmp_path / "two/a.yaml", current="a", server="https://not.this.one")
    (tmp_path / "empty").write_text("")
    listed = os.pathsep.join(map(str, (tmp_path / "none", first, tmp_path / "empty", second, "", third)))
    files = default_kubeconfigs({"KUBECONFIG": listed})

    for context in (None, "a", "b"):
        found = read_config(files, context)

        command = ["kubectl", "config", "view", "--raw", "--minify", "-o", "json", f"--context={context or ''}"]
        told = subprocess.run(
            command, env={**os.environ, "KUBECONFIG": listed}, capture_output=True, check=True, timeout=20
        )
        (cluster,), (user,) = json.loads(told.stdout)["clusters"], json.loads(told.stdout)["users"]
        assert found.context_name == (context or "b")
        assert found.cluster.server == cluster["cluster"]["server"]
        assert found.user is not None
        assert found.user.token == user["user"]["token"]
    assert read_config(files, "a").cluster.certificate_auth == str(tmp_path / "one/ca.crt")


def test_one_context_as_a_file_of_its_own_is_what_it_was(tmp_path: Path):
    first = a_kubeconfig(tmp_path / "one/a.yaml", **{"certificate-authority": "ca.crt"})
    second = a_kubeconfig(tmp_path / "b.yaml", current="b")
    files = (tmp_path / "none", first, second)

    for context in ("a", "b"):
        (tmp_path / "only").write_text(yaml.safe_dump(minified(files, context)))

        only, found = read_config(tmp_path / "only"), read_config(files, context)
        assert (only.context_name, only.context, only.cluster, only.user) == (context, *found[1:4])


def test_an_unknown_context_is_told_with_those_that_are_there(tmp_path: Path):
    files = (a_kubeconfig(tmp_path / "b.yaml", current="b"), a_kubeconfig(tmp_path / "a.yaml"))

    with pytest.raises(Misconfigured, match="Context 'production' not found; there is a, b"):
        read_config(files, "production")
    with pytest.raises(Misconfigured, match=r"No current context.*; there is a$"):
        read_config(files[1])


def test_an_empty_context_is_the_current_one(tmp_path: Path):
    assert read_config(a_kubeconfig(tmp_path / "b.yaml", current="b"), "").context_name == "b"


def test_without_a_variable_the_home_is_read(tmp_path: Path):
    assert default_kubeconfigs({"HOME": str(tmp_path)}) == ()
    path = a_kubeconfig(tmp_path / ".kube/config")

    assert default_kubeconfigs({"HOME": str(tmp_path)}) == (path,)
