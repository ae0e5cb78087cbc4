"""Signals of other clusters (BR-FLEET-003, BR-INTEGRATION-054), as far as there is a fleet here: none is registered."""

import pytest

from support.suite.objects import pod
from support.suite.specs import environment

spec = pytest.mark.spec


@spec("CL-01", "BR-FLEET-003")
async def test_signal_of_the_own_cluster(own_suite, open_controller):
    """clusterID is this cluster's name: the local pod is looked up."""
    done = await _completed(own_suite, open_controller, "prod-east-1")

    assert done.status.kubernetes_context.degraded_mode is False
    assert done.status.kubernetes_context.workload.name == "api"


@spec("CL-02", "BR-FLEET-003", "BR-INTEGRATION-054")
async def test_signal_of_another_cluster(own_suite, open_controller):
    """clusterID is another's: nothing of the same name here is taken for it; degraded, Unknown, and the id is kept."""
    done = await _completed(own_suite, open_controller, "prod-west-2")

    context = done.status.kubernetes_context
    assert (context.degraded_mode, context.workload, context.namespace) == (True, None, None)
    assert context.cluster_id == "prod-west-2"
    assert environment(done) == ("Unknown", "default")


@spec("CL-03", "BR-FLEET-003")
async def test_cluster_without_a_registry_has_no_classification(own_suite, open_controller):
    """No registry labels the cluster: its classification is empty."""
    done = await _completed(own_suite, open_controller, "prod-east-1")

    assert done.status.signal_classification.cluster_classification == ""


async def _completed(suite, open_controller, cluster: str):
    """A signal with this clusterID, about a pod that exists here, in the cluster prod-east-1."""
    shop = await suite.namespace("clusters", "production")
    await suite.create(pod("api", shop))
    async with open_controller(cluster="prod-east-1"):
        return await suite.completed(target=("Pod", "api", shop), clusterID=cluster)
