"""The server as a child process: it starts, says why not, and never outlives its parent."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

import pocketkube
from pocketkube import StartError, running_api_server


def namespaces(server: pocketkube.ApiServer) -> set[str]:
    headers = {"Authorization": f"Bearer {server.token}"}
    response = httpx2.get(f"{server.url}/api/v1/namespaces", headers=headers, timeout=5, verify=False)
    return {item["metadata"]["name"] for item in response.json()["items"]}


def test_server_runs_in_the_block_and_leaves_nothing():
    with running_api_server() as server:
        found = namespaces(server)
        config = json.loads(server.kubeconfig.read_text())

    assert {"default", "kube-system"} <= found
    assert config == server.client_config
    assert not server.kubeconfig.parent.exists()
    with pytest.raises(httpx2.ConnectError):
        namespaces(server)


def test_directory_keeps_token_and_port(tmp_path):
    with running_api_server(tmp_path) as first:
        pass
    with running_api_server(tmp_path, kubeconfig=tmp_path / "config") as second:
        assert (second.url, second.token) == (first.url, first.token)
        assert second.kubeconfig == tmp_path / "config"


def test_reason_for_not_starting_is_told(tmp_path):
    with (
        running_api_server(tmp_path),
        pytest.raises(StartError, match=r"exit code 3.*another API server is using"),
        running_api_server(tmp_path),
    ):
        pass


def test_server_ends_with_a_parent_that_is_killed(tmp_path):
    program = (
        "import os, pocketkube\n"
        f"with pocketkube.running_api_server({str(tmp_path)!r}) as server:\n"
        "    print(server.url, flush=True)\n"
        "    os.read(0, 1)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdin is not None
    assert parent.stdout is not None
    with parent:
        url = parent.stdout.readline().strip()
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait(10)

    assert url.startswith("http://127.0.0.1:")
    # The lock of the directory is free as soon as the server is gone.
    descriptor = os.open(tmp_path / "lock", os.O_RDWR)
    with os.fdopen(descriptor) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


async def test_server_runs_on_the_event_loop_too():
    async with pocketkube.open_api_server(token="known") as server:
        directory = server.kubeconfig.parent
        assert server.token == "known"
        assert directory.exists()

    assert not directory.exists()


def test_start_message_is_for_people(tmp_path):
    command = [sys.executable, "-m", "pocketkube", "run", "--stop-on-eof", "--data", str(tmp_path)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=True)

    assert f"kubectl --kubeconfig={tmp_path}/kubeconfig get namespaces" in done.stdout
    assert "Ctrl-C" in done.stdout
    assert done.stderr == ""


def test_version_is_printed():
    done = subprocess.run([sys.executable, "-m", "pocketkube", "version"], capture_output=True, text=True, check=True)

    assert done.stdout.startswith("pocketkube ")
    assert "Kubernetes API v1." in done.stdout


@pytest.mark.parametrize("name", ["server", "http", "operations", "storage"])
def test_plugin_does_not_import_the_server(name):
    program = f"import sys, pocketkube.pytest_plugin; print('pocketkube.{name}' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


def test_everything_exported_is_there():
    assert all(hasattr(pocketkube, name) for name in pocketkube.__all__)
    assert Path(pocketkube.__file__).with_name("py.typed").exists()
