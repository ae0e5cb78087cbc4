"""Every test runs against pocketkube, and against the real one of `KUBEBUILDER_ASSETS` if that is set."""

import asyncio
import contextlib
import itertools
import json
import os
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
import yaml

from .control_plane import open_control_plane
from .differences import DIFFERENCES, SKIP_REASONS
from .eventually import eventually
from .widgets import a_definition

_numbers = itertools.count(1)
_REAL = ["real"] if os.environ.get("KUBEBUILDER_ASSETS") else []


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running API server."""

    name: str
    """pocketkube, 1.36-libs, 1.20.2, or another version."""
    kubeconfig: Path
    url: str
    token: str
    authority: str
    """The certificate that signed the server's; empty for plain HTTP."""

    def client(self, **headers: str) -> httpx2.Client:
        return httpx2.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.token}", **headers},
            verify=ssl.create_default_context(cafile=self.authority) if self.authority else False,
            timeout=10,
        )


class Api:
    """The API as one test sees it: raw HTTP with JSON in and out."""

    def __init__(self, client: httpx2.Client) -> None:
        self.client = client

    def get(self, path: str, **params: Any) -> httpx2.Response:
        return self.client.get(path, params=params)

    def post(self, path: str, body: Any, **params: Any) -> httpx2.Response:
        return self.client.post(path, json=body, params=params)

    def put(self, path: str, body: Any, **params: Any) -> httpx2.Response:
        return self.client.put(path, json=body, params=params)

    def delete(self, path: str, body: Any = None, **params: Any) -> httpx2.Response:
        content = None if body is None else json.dumps(body)
        return self.client.request(
            "DELETE", path, content=content, params=params, headers={"Content-Type": "application/json"}
        )

    def patch(self, path: str, body: Any, kind: str = "merge-patch+json", **params: Any) -> httpx2.Response:
        headers = {"Content-Type": f"application/{kind}"}
        return self.client.patch(path, content=json.dumps(body), headers=headers, params=params)

    def apply(self, path: str, body: Any, manager: str, **params: Any) -> httpx2.Response:
        return self.patch(path, body, "apply-patch+yaml", fieldManager=manager, **params)

    @contextlib.contextmanager
    def watch(self, path: str, **params: Any) -> Iterator["Watch"]:
        params = {"watch": "true", "timeoutSeconds": "8", **params}
        with self.client.stream("GET", path, params=params) as response:
            yield Watch(response)


class Watch:
    """The events of one watch."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def next(self) -> dict[str, Any]:
        """The next event; fails when the watch ends first."""
        event: dict[str, Any] = json.loads(next(self._lines))
        return event

    def take(self, count: int) -> list[tuple[str, str]]:
        """Type and name of the next events."""
        events = [self.next() for _ in range(count)]
        return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]

    def rest(self) -> list[dict[str, Any]]:
        """All events until the watch ends."""
        return [json.loads(line) for line in self._lines]


@asynccontextmanager
async def _pocketkube(directory: Path) -> AsyncIterator[Path]:
    command = [sys.executable, "-m", "pocketkube", "run", "--output", "json", "--data", str(directory)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), timeout=20)
        assert json.loads(line)["url"]
        yield directory / "kubeconfig"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


@pytest.fixture(scope="session", params=["pocketkube", *_REAL])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="kn-") as directory, contextlib.closing(asyncio.new_event_loop()) as loop:
        if request.param == "pocketkube":
            opening = _pocketkube(Path(directory))
        else:
            assets = Path(os.environ["KUBEBUILDER_ASSETS"])
            opening = open_control_plane(assets, Path(directory))
        kubeconfig = loop.run_until_complete(opening.__aenter__())
        try:
            yield _server_of(request.param, kubeconfig)
        finally:
            loop.run_until_complete(opening.__aexit__(None, None, None))


def _server_of(kind: str, kubeconfig: Path) -> Server:
    content = yaml.safe_load(kubeconfig.read_text())
    cluster = content["clusters"][0]["cluster"]
    address = urlsplit(cluster["server"])
    server = Server(
        name=kind,
        kubeconfig=kubeconfig,
        url=f"{address.scheme}://{address.hostname}:{address.port}",
        token=content["users"][0]["user"]["token"],
        authority=cluster.get("certificate-authority", ""),
    )
    if kind == "pocketkube":
        return server
    with server.client() as client:
        version = client.get("/version").json()
    # The library server was built outside of a release.
    name = "1.36-libs" if version["gitCommit"].startswith("$") else version["gitVersion"].removeprefix("v")
    return Server(**{**server.__dict__, "name": name})


@pytest.fixture(autouse=True)
def _known_difference(request: pytest.FixtureRequest) -> None:
    if "server" not in request.fixturenames:
        return
    name = request.getfixturevalue("server").name
    known = DIFFERENCES.get(name, {})
    # "test_x[real-a-b]" is listed as "test_x[a-b]", or as "test_x" when all parameters differ.
    in_full = request.node.name.replace("[real-", "[", 1)
    reason = known.get(in_full) or known.get(request.node.originalname)
    if reason in SKIP_REASONS:
        pytest.skip(f"{name}: {reason}")
    if reason is not None:
        request.applymarker(pytest.mark.xfail(reason=f"{name}: {reason}", strict=True))


@pytest.fixture
def api(server: Server) -> Iterator[Api]:
    with server.client() as client:
        yield Api(client)


@pytest.fixture
def namespace(api: Api) -> Iterator[str]:
    made = api.post("/api/v1/namespaces", {"metadata": {"generateName": "conf-"}})
    assert made.status_code == 201, made.text
    name = made.json()["metadata"]["name"]
    yield name
    api.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="session")
def group(server: Server) -> Iterator[str]:
    """The group of the widgets that all tests of this worker share."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    name = f"{worker}.example.test"
    with server.client() as client:
        api = Api(client)
        definition = a_definition(name)
        made = api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        assert made.status_code == 201, made.text
        _wait_until_served(api, name)
        yield name
        api.delete(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{name}")


def _wait_until_served(api: Api, group: str) -> None:
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{group}"
    with contextlib.closing(asyncio.new_event_loop()) as loop:

        def established() -> bool:
            conditions = api.get(path).json().get("status", {}).get("conditions") or []
            states = {condition["type"]: condition["status"] for condition in conditions}
            return states.get("Established") == "True" and api.get(f"/apis/{group}/v1/widgets").status_code == 200

        loop.run_until_complete(eventually(established, timeout=20))


@pytest.fixture
def widgets(group: str, namespace: str) -> str:
    """The path of the widgets of this test's namespace."""
    return f"/apis/{group}/v1/namespaces/{namespace}/widgets"


@pytest.fixture
def configmaps(namespace: str) -> str:
    """The path of the ConfigMaps of this test's namespace."""
    return f"/api/v1/namespaces/{namespace}/configmaps"


@pytest.fixture
def unique() -> str:
    return f"n{os.getpid()}x{next(_numbers)}"
