"""How cached kinds are read from servers that have an older version of them."""

from typing import Any

import pytest

from kubernaut.kube.client import ClientConfig, open_client
from kubernaut.signalprocessing.cluster import open_cluster_reader
from kubernaut.signalprocessing.kinds import OLDER_VERSIONS, POD_DISRUPTION_BUDGET, decode
from kubernaut.signalprocessing.reader import ObjectReference
from support.eventually import eventually
from support.scripted_api import Call, a_listing, open_scripted_api


@pytest.mark.parametrize(
    ("selector", "selects_in_v1", "selects_in_v1beta1"),
    [({}, True, False), ({"matchLabels": {"app": "api"}}, True, True), ({"matchLabels": {"app": "x"}}, False, False)],
)
def test_empty_selector_of_a_budget_means_what_its_version_says(selector, selects_in_v1, selects_in_v1beta1):
    manifest: dict[str, Any] = {"metadata": {"name": "api"}, "spec": {"selector": selector}}

    def selects(budget: Any) -> bool:
        return budget.spec.selector is not None and budget.spec.selector.matches({"app": "api"})

    assert selects(decode(POD_DISRUPTION_BUDGET, manifest)) is selects_in_v1
    assert selects(decode(OLDER_VERSIONS[POD_DISRUPTION_BUDGET], manifest)) is selects_in_v1beta1


@pytest.mark.parametrize(
    ("served", "asked"),
    [("batch/v1", "batch/v1"), ("batch/v1", "batch/v1beta1"), ("batch/v1beta1", "batch/v1"), ("batch/v1beta1", "")],
)
async def test_object_is_found_in_the_cache_by_every_version_of_its_group(tmp_path, served, asked):
    found = {"metadata": {"name": "nightly", "namespace": "shop", "uid": "1", "resourceVersion": "7"}}

    async def server(call: Call) -> None:
        if call.is_watch:
            await call.open_watch()
            await call.stay_idle()
        elif call.path == f"/apis/{served}/cronjobs":
            await call.respond(a_listing(found))
        else:
            await call.reject(404, "NotFound", "not found")

    async with (
        open_scripted_api(server, tmp_path) as file,
        open_client(ClientConfig(kubeconfig=file)) as client,
        open_cluster_reader(client, "kubernaut-system", 10.0) as reader,
    ):
        await eventually(lambda: all(cache.synced.is_set() for cache in reader.caches))
        resolved = await reader.resolve(
            ObjectReference(kind="CronJob", name="nightly", namespace="shop", api_version=asked)
        )

    assert resolved is not None
    assert resolved.api_version == served
