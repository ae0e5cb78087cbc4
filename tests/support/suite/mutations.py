"""The faults of the report, each behind a switch: `SUITE_MUTATION=M-01 pytest tests/integration/signalprocessing/specs`

Each takes the place of something in the support code of the suite, in every process of the run, so that the suite turns
red for that reason. Without the variable nothing here does anything.
"""

import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pytest_muster.records.run import run_of

NAMES = [name for name in os.environ.get("SUITE_MUTATION", "").split(",") if name]
"""Several are applied in this order."""
VARIANT = os.environ.get("SUITE_VARIANT", "")
"""M-07: when DataStorage is killed (`before` the first spec, at the `last` one, `after` it), or `stopped`."""

controller_of_suite: Any = None
"""M-01: made on the first worker only."""
policy_of_suite = ""
"""M-03: known on the first worker only."""
datastorage_of_suite: Any = None
"""M-07, M-14: the process, in the process that owns the run."""

# The modules of the suite are imported in the functions: they cost time, and a run without a mutation needs none here.


def put(owner: Any, name: str, value: Any) -> None:
    """Take the place of what is there. Raises AttributeError if there is nothing: then the fault would be none."""
    getattr(owner, name)
    setattr(owner, name, value)


def client_on_first_worker() -> None:
    """M-01: the second worker relies on what only the first one has made."""
    from support.suite import worker

    real = worker.open_suite_controller

    @asynccontextmanager
    async def opening(workspace: Any, *args: Any) -> AsyncIterator[Any]:
        global controller_of_suite
        if workspace.slot > 1:
            yield controller_of_suite
            return
        async with real(workspace, *args) as controller_of_suite:
            yield controller_of_suite

    put(worker, "open_suite_controller", opening)


def teardown_by_every_worker() -> None:
    """M-02: each worker takes the shared DataStorage down when it is through itself."""
    from support.suite import worker

    real = worker.open_suite_controller

    @asynccontextmanager
    async def opening(workspace: Any, kubeconfig: Path, services: dict[str, Any]) -> AsyncIterator[Any]:
        async with real(workspace, kubeconfig, services) as controller:
            yield controller
        os.kill(services["pid"], signal.SIGKILL)

    put(worker, "open_suite_controller", opening)


def policy_path_of_first_worker() -> None:
    """M-03: the path of the policy file is known on the first worker only; elsewhere it is empty."""
    from support.suite import worker

    real = worker.open_suite_controller

    class SharedPath(worker.Policies):
        @property
        def file(self) -> Path:
            with open(policy_of_suite):  # noqa: PTH123 - `Path("")` would be the current directory
                return Path(policy_of_suite)

        @file.setter
        def file(self, path: Path) -> None:
            raise AttributeError("the path is the suite's")

    @asynccontextmanager
    async def opening(workspace: Any, *args: Any) -> AsyncIterator[Any]:
        global policy_of_suite
        async with real(workspace, *args) as controller:
            if workspace.slot == 1:
                policy_of_suite = str(controller.policies.file)
            controller.policies.__class__ = SharedPath
            yield controller

    put(worker, "open_suite_controller", opening)


def read_through_unstarted_cache() -> None:
    """M-04: the mapping of environments is read when it is made, and its cache is started after that."""
    import structlog

    from kubernaut.signalprocessing import service

    real = service._environment_mapping

    def reading(client: Any, namespace: str, name: str) -> Any:
        mapping, cache = real(client, namespace, name)
        if not cache.synced.is_set():
            error = f"failed to get ConfigMap {namespace}/{name}: the cache is not started, can not read objects"
            log = structlog.get_logger("environment-classifier")
            log.info("ConfigMap mapping not loaded (will use defaults)", error=error)
        cache._handlers.clear()
        return mapping, cache

    put(service, "_environment_mapping", reading)


def constant_namespace() -> None:
    """M-05: all specs take one name for the namespace of their targets."""
    from support.signals import a_namespace
    from support.suite import specs

    async def namespace(self: Any, stem: str = "shop", environment: str = "", **labels: str) -> str:
        await self.create(a_namespace("shop", environment))
        return "shop"

    put(specs.Suite, "namespace", namespace)


def localhost() -> None:
    """M-06: the address says localhost, which is ::1 first."""
    from support.suite import infrastructure

    real = infrastructure._configure

    def configure(folder: Path, port: int, *args: Any) -> Path:
        config = real(folder, port, *args)
        # muster: ignore[M202] this is the fault
        (folder / "url").write_text(f"http://localhost:{port}")
        return config

    put(infrastructure, "_configure", configure)


def datastorage_dies() -> None:
    """M-07: DataStorage is killed from outside, by default when two specs have passed (see the hooks below)."""
    _know_datastorage()


def wrong_password() -> None:
    """M-08: DataStorage is given another password than PostgreSQL has."""
    from support.suite import infrastructure

    put(infrastructure, "database_password", lambda postgres: "not-the-password")


def missing_path() -> None:
    """M-09: the command of DataStorage is looked for where it is not, as the Dockerfile was on 15 December."""
    from support.suite import preflight

    put(preflight, "COMMAND", Path("docker/datastorage-ubi9.Dockerfile"))


def crash() -> None:
    """M-10: the second worker ends amid its first spec (see `pytest_runtest_call`)."""


def shared_registry() -> None:
    """M-11: all controllers of a process register their metrics at one registry."""
    from prometheus_client import CollectorRegistry

    from kubernaut.signalprocessing import registry

    shared = CollectorRegistry()
    put(registry, "new_registry", lambda *args: shared)


def constant_correlation() -> None:
    """M-12: the names of remediation requests, hence correlation ids, are constants."""
    from support.suite import specs

    async def request(self: Any, stem: str = "test-rr", *, severity: str = "critical", **status: Any) -> Any:
        head = {"apiVersion": "kubernaut.ai/v1alpha1", "kind": "RemediationRequest"}
        return head | {"metadata": {"name": "audit-test-rr"}}

    put(specs.Suite, "request", request)


def flush_ignores_queue() -> None:
    """M-13: a batch that is not full is not sent."""
    from support.suite import specs, worker

    real = worker.BufferConfig
    put(worker, "BufferConfig", lambda **_: real(flush_interval=60.0, batch_size=1000))
    put(specs, "TIMEOUT", 3.0)


def start_before_ready() -> None:
    """M-14: nobody waits for DataStorage, which takes its time."""
    from support.suite import infrastructure

    async def at_once(*args: Any) -> None:
        return

    put(infrastructure, "wait_until_healthy", at_once)
    put(infrastructure, "deliver_first_event", at_once)
    real = infrastructure.command_of

    def late(command: str, config: Path) -> list[str]:
        return ["/bin/sh", "-c", f"sleep 12; exec {' '.join(map(str, real(command, config)))}"]

    put(infrastructure, "command_of", late)


def _know_datastorage() -> None:
    from support.suite import infrastructure

    real = infrastructure.wait_until_healthy

    async def waiting(workspace: Any, url: str) -> None:
        global datastorage_of_suite
        await real(workspace, url)
        datastorage_of_suite = workspace.processes[-1]

    put(infrastructure, "wait_until_healthy", waiting)


MUTATIONS: dict[str, Callable[[], None]] = {
    "M-01": client_on_first_worker,
    "M-02": teardown_by_every_worker,
    "M-03": policy_path_of_first_worker,
    "M-04": read_through_unstarted_cache,
    "M-05": constant_namespace,
    "M-06": localhost,
    "M-07": datastorage_dies,
    "M-08": wrong_password,
    "M-09": missing_path,
    "M-10": crash,
    "M-11": shared_registry,
    "M-12": constant_correlation,
    "M-13": flush_ignores_queue,
    "M-14": start_before_ready,
}

_passed: set[str] = set()
_collected: list[str] = []


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(ids: list[str]) -> None:
    """M-07: how many specs there are."""
    _collected[:] = ids


def pytest_muster_shared_ready() -> None:
    """M-07, in the process that owns the run."""
    if VARIANT == "before":
        _end_datastorage()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """M-07, in the process that owns the run."""
    if report.when != "call" or not report.passed:
        return
    _passed.add(report.nodeid)
    if len(_passed) == {"before": 0, "last": len(_collected) - 1, "after": len(_collected)}.get(VARIANT, 2):
        _end_datastorage()


def _end_datastorage() -> None:
    if "M-07" in NAMES and datastorage_of_suite is not None:
        os.kill(datastorage_of_suite.pid, signal.SIGSTOP if VARIANT == "stopped" else signal.SIGKILL)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """M-10: no teardown runs, as when the kernel kills a process."""
    if "M-10" in NAMES and "signal_is_created" in item.name:
        os._exit(70)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """M-14: the spec that is to see the service ready; the others have begun too early."""
    if "M-14" not in NAMES or "all_types" not in item.name:
        return
    log = run_of(item.config).directory / "logs" / "datastorage.log"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and "datastorage server started" not in log.read_text():
        time.sleep(0.1)  # its log says so; a connection would be the use that comes too early


for name in NAMES:
    MUTATIONS[name]()
