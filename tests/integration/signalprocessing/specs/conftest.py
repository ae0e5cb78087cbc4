"""One controller for all specs of a worker, on the run's services, on an API server of the worker or of the run.

`CONTROL_PLANE=shared` gives all workers one API server; otherwise each has its own.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pytest_muster as muster
from kubernaut.api.crds import all_crds
from kubernaut.audit.client import open_client as open_store_client
from kubernaut.audit.config import ClientConfig as StoreClientConfig
from kubernaut.embedded.kubernetes import KubernetesConfig, open_kubernetes
from kubernaut.kube.client import ClientConfig, open_client
from kubernaut.kube.crds import ensure_crds
from kubernaut.signalprocessing.service import Service, open_service
from support.signalprocessing import Cluster, Store
from support.suite.must_gather import ControllerLog, gather
from support.suite.specs import Suite
from support.suite.worker import Policies, SuiteController, config_for, create_home, open_suite_controller

LOG = ControllerLog()
CONTROL_PLANE = os.environ.get("CONTROL_PLANE", "worker")

if CONTROL_PLANE == "shared":

    @muster.shared(timeout=120)
    async def control_plane(muster_run: muster.Workspace) -> AsyncIterator[dict[str, str]]:
        """The API server of the run, with our CRDs."""
        env = {name: value for name, value in os.environ.items() if name == "KUBEBUILDER_ASSETS"}
        directory = muster_run.directory / "kubernetes"
        async with open_kubernetes(KubernetesConfig(directory=directory, env=env, durable=False)) as api:
            async with open_client(ClientConfig(kubeconfig=api.kubeconfig, field_manager="suite")) as client:
                await ensure_crds(client, all_crds())
            yield {"kubeconfig": str(api.kubeconfig)}

    @pytest.fixture(scope="session")
    def kubernetes_with_crds(control_plane: dict[str, str]) -> Path:
        return Path(control_plane["kubeconfig"])


@muster.worker(timeout=60)
async def suite_controller(
    muster_worker: muster.Workspace,
    suite_services: dict[str, Any],
    signalprocessing_datastorage_test: dict[str, Any],
    kubernetes_with_crds: Path,
) -> AsyncIterator[SuiteController]:
    services = signalprocessing_datastorage_test
    LOG.install()
    async with open_suite_controller(muster_worker, kubernetes_with_crds, services) as controller:
        yield controller


@pytest.fixture
def controller(suite_controller: SuiteController) -> SuiteController:
    return suite_controller


@pytest.fixture
async def cluster(suite_controller: SuiteController) -> AsyncIterator[Cluster]:
    """The worker's API server; signals go to the namespace of the worker's controller."""
    config = ClientConfig(kubeconfig=suite_controller.kubeconfig, field_manager="test")
    async with open_client(config) as client:
        yield Cluster(client=client, kubeconfig=suite_controller.kubeconfig, home=suite_controller.home)


@pytest.fixture
async def store(signalprocessing_datastorage_test: dict[str, Any]) -> AsyncIterator[Store]:
    """The run's DataStorage."""
    url = signalprocessing_datastorage_test["url"]
    async with open_store_client(StoreClientConfig(url=url)) as client:
        yield Store(url=url, client=client)


@pytest.fixture
def suite(cluster: Cluster, controller: SuiteController, store: Store, muster_test: muster.Workspace) -> Suite:
    return Suite(cluster=cluster, controller=controller, store=store, workspace=muster_test)


@pytest.fixture
async def own_suite(suite: Suite) -> Suite:
    """A namespace of signals without a controller: the spec opens one, or several in turn."""
    home = suite.name("sp-own")
    await create_home(home, suite.cluster.kubeconfig)
    cluster = replace(suite.cluster, home=home)
    return Suite(cluster=cluster, controller=None, store=suite.store, workspace=suite.workspace)


OpenController = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture
def open_controller(own_suite: Suite, tmp_path: Path) -> OpenController:
    """Start a controller of this spec as production does; all that are opened in turn share policy and spool."""
    policies = Policies(tmp_path / "own" / "policies")

    @asynccontextmanager
    async def opening(kubeconfig: Path | None = None, url: str = "", **more: Any) -> AsyncIterator[Service]:
        kubeconfig = kubeconfig or own_suite.cluster.kubeconfig
        config = config_for(own_suite.home, policies.file.parents[1], kubeconfig, url or own_suite.store.url, **more)
        async with open_service(config) as service:
            await asyncio.wait_for(service.ready(), 20)
            yield service

    return opening


@pytest.fixture
async def policies(suite_controller: SuiteController) -> AsyncIterator[Policies]:
    """The worker's policy folder; the suite's own policy is in force again when the spec is over."""
    yield suite_controller.policies
    await suite_controller.policies.restore()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """A spec that fails keeps what explains it, before anything of it is taken down."""
    if call.excinfo is not None and call.when != "teardown":
        item.add_report_section(call.when, "controller log", LOG.text())
        found = getattr(item, "funcargs", {})
        suite = found.get("own_suite") or found.get("suite")
        if isinstance(suite, Suite):
            for title, text in asyncio.run(gather(suite, found.get("suite_controller"))).items():
                item.add_report_section(call.when, title, text)
    return (yield)
