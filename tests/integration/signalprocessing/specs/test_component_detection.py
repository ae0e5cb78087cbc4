"""What is detected about a workload (BR-SP-101): both answers of each question, and never the neighbour's."""

import pytest

from support.suite.objects import autoscaler, deployment, disruption_budget, network_policy, pod, replica_set

spec = pytest.mark.spec


async def detected(suite, kind: str, name: str, namespace: str):
    """What was detected; no detection may have failed."""
    done = await suite.completed(target=(kind, name, namespace))
    found = done.status.kubernetes_context.detected_labels
    assert found.failed_detections == []
    return found


@spec("CD-01", "BR-SP-101")
async def test_disruption_budget(suite):
    """A PodDisruptionBudget that selects the pod."""
    shop = await suite.namespace("detection")
    await suite.create(pod("pdb-target-pod", shop, labels={"app": "pdb-test"}))
    await suite.create(disruption_budget("real-pdb", shop, app="pdb-test"))

    assert (await detected(suite, "Pod", "pdb-target-pod", shop)).pdb_protected is True


@spec("CD-02", "BR-SP-101")
async def test_autoscaler(suite):
    """A HorizontalPodAutoscaler that targets the Deployment."""
    shop = await suite.namespace("detection")
    await suite.create(deployment("hpa-target-deployment", shop), autoscaler("real-hpa", shop, "hpa-target-deployment"))

    assert (await detected(suite, "Deployment", "hpa-target-deployment", shop)).hpa_enabled is True


@spec("CD-03", "BR-SP-101")
async def test_network_policy(suite):
    """A NetworkPolicy in the namespace isolates its pods; in another namespace it does not."""
    shop, other = await suite.namespace("detection"), await suite.namespace("detection")
    await suite.create(pod("test-pod", shop), pod("test-pod", other), network_policy("real-netpol", shop))

    assert (await detected(suite, "Pod", "test-pod", shop)).network_isolated is True
    assert (await detected(suite, "Pod", "test-pod", other)).network_isolated is False


@spec("CD-04", "BR-SP-101", "BR-SP-100")
async def test_autoscaler_is_found_through_the_owner_chain(suite):
    """A pod whose Deployment is autoscaled: the pod's signal says so."""
    shop = await suite.namespace("detection")
    (top,) = await suite.create(deployment("owned", shop))
    (middle,) = await suite.create(replica_set("owned-rs", shop, owner=top))
    await suite.create(pod("owned-pod", shop, owner=middle), autoscaler("hpa", shop, "owned"))

    assert (await detected(suite, "Pod", "owned-pod", shop)).hpa_enabled is True


@spec("CD-05", "BR-SP-101")
async def test_flux_manages_the_deployment(suite):
    """A label of Flux: managed by GitOps, tool flux."""
    shop = await suite.namespace("detection")
    await suite.create(deployment("flux", shop, labels={"kustomize.toolkit.fluxcd.io/name": "apps"}))

    found = await detected(suite, "Deployment", "flux", shop)

    assert (found.git_ops_managed, found.git_ops_tool) == (True, "flux")


@spec("CD-06", "BR-SP-101")
async def test_argo_manages_the_deployment(suite):
    """An annotation of Argo CD: managed by GitOps, tool argocd."""
    shop = await suite.namespace("detection")
    await suite.create(deployment("argo", shop, annotations={"argocd.argoproj.io/tracking-id": "shop:apps/Deployment"}))

    found = await detected(suite, "Deployment", "argo", shop)

    assert (found.git_ops_managed, found.git_ops_tool) == (True, "argocd")


@spec("CD-07", "BR-SP-101")
async def test_nobody_manages_the_deployment(suite):
    """Neither label nor annotation of a tool: not managed by GitOps."""
    shop = await suite.namespace("detection")
    await suite.create(deployment("by-hand", shop))

    found = await detected(suite, "Deployment", "by-hand", shop)

    assert (found.git_ops_managed, found.git_ops_tool) == (False, "")


@spec("CD-08", "BR-SP-101")
async def test_disruption_budget_of_other_pods(suite):
    """A PodDisruptionBudget whose selector does not match: not protected."""
    shop = await suite.namespace("detection")
    await suite.create(pod("bare-pod", shop, labels={"app": "bare"}), disruption_budget("pdb", shop, app="other"))

    assert (await detected(suite, "Pod", "bare-pod", shop)).pdb_protected is False


@spec("CD-09", "BR-SP-101")
async def test_one_of_two_disruption_budgets(suite):
    """Two PodDisruptionBudgets of which one matches: protected."""
    shop = await suite.namespace("detection")
    await suite.create(pod("some-pod", shop, labels={"app": "mine"}))
    await suite.create(disruption_budget("a", shop, app="other"), disruption_budget("b", shop, app="mine"))

    assert (await detected(suite, "Pod", "some-pod", shop)).pdb_protected is True


@spec("CD-10", "BR-SP-101")
async def test_autoscaler_of_another_deployment(suite):
    """A HorizontalPodAutoscaler of another Deployment: not autoscaled."""
    shop = await suite.namespace("detection")
    await suite.create(deployment("mine", shop), deployment("other", shop), autoscaler("hpa", shop, "other"))

    assert (await detected(suite, "Deployment", "mine", shop)).hpa_enabled is False


@spec("CD-11", "BR-SP-101")
async def test_one_of_several_autoscalers(suite):
    """Several HorizontalPodAutoscalers of which one targets the Deployment: autoscaled."""
    shop = await suite.namespace("detection")
    await suite.create(
        deployment("mine", shop), *(autoscaler(f"hpa-{name}", shop, name) for name in ("x", "y", "mine"))
    )

    assert (await detected(suite, "Deployment", "mine", shop)).hpa_enabled is True


@spec("CD-12", "BR-SP-101", "BR-SP-100")
async def test_autoscaler_of_the_deployment_that_owns_the_pod(suite):
    """A pod that a Deployment owns directly: its autoscaler counts."""
    shop = await suite.namespace("detection")
    (owner,) = await suite.create(deployment("direct", shop))
    await suite.create(pod("direct-pod", shop, owner=owner), autoscaler("hpa", shop, "direct"))

    assert (await detected(suite, "Pod", "direct-pod", shop)).hpa_enabled is True
