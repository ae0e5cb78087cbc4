"""Fixtures for test suites that need a Kubernetes API: installed with pocketkube, nothing starts until one asks.

def test_it(kube_api, kube_namespace): ...
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.request import Request, urlopen

import pytest

from pocketkube.api_server import ApiServer
from pocketkube.child import running_api_server

_TIMEOUT = 10  # seconds


@pytest.fixture(scope="session")
def kube_api() -> Iterator[ApiServer]:
    """A Kubernetes API server for the whole session; with pytest-xdist each worker has its own."""
    with running_api_server() as server:
        yield server


@pytest.fixture(scope="session")
def kube_client_config(kube_api: ApiServer) -> dict[str, Any]:
    """The content of a kubeconfig, as the clients `lightkube` and `kubernetes` take it."""
    return kube_api.client_config


@pytest.fixture
def kube_namespace(kube_api: ApiServer) -> Iterator[str]:
    """The name of a new namespace, which is deleted with all that is in it after the test."""
    made = _request(kube_api, "POST", "/api/v1/namespaces", {"metadata": {"generateName": "test-"}})
    name: str = made["metadata"]["name"]
    yield name
    _request(kube_api, "DELETE", f"/api/v1/namespaces/{name}", None)


def _request(server: ApiServer, method: str, path: str, body: Any) -> Any:
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = Request(server.url + path, data, headers, method=method)  # noqa: S310 - the server's own address
    with urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310 - as above
        return json.load(response)
