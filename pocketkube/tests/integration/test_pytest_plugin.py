"""The fixtures, in a test suite of their own."""

import subprocess
import sys

import pytest

SUITE = """
import json
import urllib.request


def test_namespace_is_there(kube_api, kube_namespace):
    request = urllib.request.Request(f"{kube_api.url}/api/v1/namespaces/{kube_namespace}")
    request.add_header("Authorization", f"Bearer {kube_api.token}")
    with urllib.request.urlopen(request) as response:
        assert json.load(response)["status"]["phase"] == "Active"
    print(f"NAMESPACE {kube_namespace}")


def test_namespace_is_new(kube_namespace):
    print(f"NAMESPACE {kube_namespace}")


def test_server_is_one(kube_api, kube_client_config):
    address = kube_client_config["clusters"][0]["cluster"]["server"]
    assert address.startswith(f"{kube_api.url}/")
    print(f"SERVER {kube_api.url}")
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_fixtures_of_the_plugin(tmp_path, workers):
    (tmp_path / "test_suite.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-rP", "-p", "no:randomly", "-p", "no:muster", "-n", workers]
    done = subprocess.run([*command, "--rootdir", str(tmp_path)], cwd=tmp_path, capture_output=True, text=True)

    names = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("NAMESPACE ")]
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout
    assert len(set(names)) == 2
