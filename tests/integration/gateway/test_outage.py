"""While the Kubernetes API is away an alert is sent back to come again; nothing is lost, nothing is doubled."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kubernaut.api.crds import all_crds
from kubernaut.embedded.kubernetes import pocketkube
from kubernaut.embedded.process import Process, open_process
from kubernaut.kube.client import ClientConfig, open_client
from kubernaut.kube.crds import ensure_crds
from support.alerts import an_alert
from support.eventually import eventually

from .conftest import open_cluster, open_gateway

pytestmark = pytest.mark.kubernetes


@asynccontextmanager
async def open_api(directory: Path) -> AsyncIterator[Process]:
    """The embedded server on a directory; the same port each time."""
    async with open_process(pocketkube(directory, directory.parent / "api.log")) as process:
        yield process


async def test_alerts_wait_for_the_api_server(tmp_path, store):
    data = tmp_path / "kubernetes"
    async with open_api(data) as first:
        kubeconfig = data / "kubeconfig"
        async with open_client(ClientConfig(kubeconfig=kubeconfig)) as client:
            await ensure_crds(client, all_crds())
        async with (
            open_cluster(kubeconfig) as cluster,
            open_gateway(cluster, store.url, tmp_path / "spool", timeout=3.0) as gateway,
        ):
            known = an_alert("Known", namespace=cluster.shop, pod="cart-1")
            late = an_alert("Late", namespace=cluster.shop, pod="search-1")
            assert (await gateway.post(known)).status_code == 201
            os.kill(first.pid, signal.SIGKILL)
            await first.wait()

            answers = [await gateway.post(late), await gateway.post(known, late)]

            assert [answer.status_code for answer in answers] == [503, 503]
            assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
            assert [result["status"] for result in answers[1].json()["results"]] == ["failed", "failed"]
            async with open_api(data):

                async def stored() -> bool:
                    return (await gateway.post(known, late)).status_code == 207

                await eventually(stored, timeout=20)
                counts = {
                    request.spec.signal_name: request.status.deduplication.occurrence_count
                    for request in await cluster.requests()
                }
                assert counts == {"Known": 1, "Late": 1}
                assert len(await cluster.signals()) == 2
