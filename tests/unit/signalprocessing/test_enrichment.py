"""Facts about targets of every kind, and what happens when some cannot be read."""

from typing import Any

import msgspec
import pytest

from kubernaut.api.signals import FailureInfo, KubernetesContext, SignalProcessing
from kubernaut.api.vocabulary import TargetType
from kubernaut.kube.errors import ApiServerUnreachable, Forbidden, ServerError
from kubernaut.kube.objects import Kind
from kubernaut.signalprocessing import enrichment
from kubernaut.signalprocessing.enrichment import DegradedReason, EnrichmentError
from kubernaut.signalprocessing.kinds import (
    HORIZONTAL_POD_AUTOSCALER,
    POD_DISRUPTION_BUDGET,
    RESOURCE_QUOTA,
    LabelSelector,
    LabelSelectorRequirement,
)
from kubernaut.signalprocessing.offline import Manifests
from kubernaut.signalprocessing.reader import ObjectReference, ResolvedObject
from support.signals import a_namespace, a_signal, an_object, owned_by


def a_cluster(*manifests: dict[str, Any], of: type[Manifests] = Manifests) -> Manifests:
    cluster = of()
    for manifest in manifests:
        cluster.add(manifest)
    return cluster


async def context_of(cluster: Manifests, signal: SignalProcessing) -> KubernetesContext:
    return (await enrichment.context_of(cluster, signal.spec.signal))[0]


def a_chain(*hops: tuple[str, str]) -> list[dict[str, Any]]:
    """Objects of which each owns the next, the topmost first; hops name API version and kind."""
    made: list[dict[str, Any]] = []
    for number, (api_version, kind) in enumerate(hops):
        owner = owned_by(made[-1]) if made else None
        made.append(an_object(kind, f"{kind.lower()}-{number}", api_version=api_version, owner=owner))
    return made


NAMESPACED = ["Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Service", "Job", "CronJob", "Ingress"]


@pytest.mark.parametrize("kind", [*NAMESPACED, "PersistentVolumeClaim", "HorizontalPodAutoscaler"])
@pytest.mark.requirement("BR-SP-001")
async def test_workload_of_any_kind_is_described(kind: str):
    target = an_object(kind, "x", labels={"app": "x"}, annotations={"note": "y"})

    context = await context_of(a_cluster(a_namespace("shop", "test"), target), a_signal(kind=kind, target="x"))

    assert (context.workload.kind, context.workload.labels, context.workload.annotations) == (
        kind,
        {"app": "x"},
        {"note": "y"},
    )
    assert context.namespace.labels == {"kubernaut.ai/environment": "test"}
    assert not context.degraded_mode


@pytest.mark.requirement("BR-SP-100")
async def test_owner_chain_goes_on_through_a_custom_resource():
    chain = a_chain(("example.com/v1", "Fleet"), ("argoproj.io/v1alpha1", "Rollout"), ("apps/v1", "ReplicaSet"))
    pod = an_object("Pod", "p", owner=owned_by(chain[-1]))

    context = await context_of(a_cluster(a_namespace("shop"), *chain, pod), a_signal(target="p"))

    assert [(hop.kind, hop.api_version, hop.note) for hop in context.owner_chain] == [
        ("ReplicaSet", "apps/v1", ""),
        ("Rollout", "argoproj.io/v1alpha1", ""),
        ("Fleet", "example.com/v1", ""),
    ]


@pytest.mark.requirement("BR-SP-100")
async def test_owner_chain_ends_after_five_hops():
    chain = a_chain(*[("example.com/v1", f"Level{number}") for number in range(9)])

    context = await context_of(a_cluster(a_namespace("shop"), *chain), a_signal(kind="Level8", target="level8-8"))

    assert [hop.kind for hop in context.owner_chain] == ["Level7", "Level6", "Level5", "Level4", "Level3"]


async def test_owners_in_a_circle_end_the_walk():
    first = an_object(
        "ReplicaSet", "a", owner={"apiVersion": "apps/v1", "kind": "Deployment", "name": "b", "controller": True}
    )
    second = an_object("Deployment", "b", owner=owned_by(first))

    context = await context_of(a_cluster(a_namespace("shop"), first, second), a_signal(kind="ReplicaSet", target="a"))

    assert [hop.kind for hop in context.owner_chain] == ["Deployment"]


async def test_the_only_owner_counts_although_it_does_not_control():
    owner = an_object("Deployment", "api")
    pod = an_object("Pod", "p", owner=owned_by(owner, controller=False))

    context = await context_of(a_cluster(a_namespace("shop"), owner, pod), a_signal(target="p"))

    assert [hop.name for hop in context.owner_chain] == ["api"]


async def test_missing_owner_is_named_and_the_context_is_whole():
    gone = an_object("ReplicaSet", "api-7d")
    pod = an_object("Pod", "p", owner=owned_by(gone))

    context = await context_of(a_cluster(a_namespace("shop"), pod), a_signal(target="p"))

    assert [(hop.name, hop.note) for hop in context.owner_chain] == [("api-7d", "not found")]
    assert not context.degraded_mode


class Denying(Manifests):
    """A cluster that denies access to some kinds."""

    denied: frozenset[str] = frozenset()

    async def resolve(self, reference: ObjectReference) -> ResolvedObject | None:
        if reference.kind in self.denied:
            raise Forbidden(f"{reference.kind} may not be read")
        return await super().resolve(reference)

    async def list(self, kind: Kind[Any], namespace: str) -> Any:
        if kind.kind in self.denied:
            raise Forbidden(f"{kind} may not be listed")
        return await super().list(kind, namespace)


async def test_denied_owner_is_noted_at_its_hop():
    chain = a_chain(("batch/v1", "CronJob"), ("batch/v1", "Job"))
    cluster = a_cluster(a_namespace("shop"), *chain, an_object("Pod", "p", owner=owned_by(chain[1])), of=Denying)
    cluster.denied = frozenset({"CronJob"})

    context = await context_of(cluster, a_signal(target="p"))

    assert [(hop.kind, hop.note) for hop in context.owner_chain] == [("Job", ""), ("CronJob", "access was denied")]


async def test_denied_target_degrades():
    cluster = a_cluster(a_namespace("shop", "test"), an_object("Pod", "p"), of=Denying)
    cluster.denied = frozenset({"Pod"})

    context = await context_of(cluster, a_signal(target="p"))

    assert context.degraded_mode
    assert context.namespace.labels


@pytest.mark.requirement("BR-SP-103")
async def test_denied_list_is_a_failed_detection_and_an_empty_one_is_not():
    cluster = a_cluster(a_namespace("shop"), an_object("Pod", "p", labels={"app": "x"}), of=Denying)
    cluster.denied = frozenset({POD_DISRUPTION_BUDGET.kind, RESOURCE_QUOTA.kind})

    labels = (await context_of(cluster, a_signal(target="p"))).detected_labels

    assert labels.failed_detections == ["pdbProtected", "resourceQuotaConstrained"]
    assert not labels.pdb_protected
    assert not labels.hpa_enabled


@pytest.mark.requirement("DEFECT-10")
async def test_remote_cluster_is_never_looked_up_here():
    cluster = a_cluster(a_namespace("shop", "production"), an_object("Pod", "api-7d-x"))

    context, reasons = await enrichment.context_of(cluster, a_signal(cluster_id="edge-1").spec.signal, "eu-1")

    assert context == KubernetesContext(cluster_id="edge-1", degraded_mode=True)
    message = "the alert is from cluster edge-1, and this is cluster eu-1"
    assert reasons == [DegradedReason(error=EnrichmentError.INCOMPLETE, message=message)]


@pytest.mark.parametrize(("cluster_id", "name"), [("home", ""), ("", "home"), ("home", "home")])
async def test_own_cluster_is_enriched_whatever_its_label(cluster_id, name):
    cluster = a_cluster(a_namespace("shop", "production"), an_object("Pod", "api-7d-x"))

    context, reasons = await enrichment.context_of(cluster, a_signal(cluster_id=cluster_id).spec.signal, name)

    assert not context.degraded_mode
    assert reasons == []


async def test_a_note_on_the_target_makes_the_context_degraded():
    cluster = a_cluster(a_namespace("shop"), an_object("Pod", "api-7d-x"))
    signal = a_signal()
    metadata = msgspec.structs.replace(signal.metadata, annotations={"kubernaut.ai/target-note": "it may be another"})

    enriched = await enrichment.enrich(cluster, msgspec.structs.replace(signal, metadata=metadata))

    assert enriched.context.degraded_mode
    assert [reason.message for reason in enriched.degraded_reasons] == ["it may be another"]


@pytest.mark.parametrize("target_type", [each for each in TargetType if each is not TargetType.KUBERNETES])
async def test_other_target_types_degrade(target_type: TargetType):
    context = await context_of(a_cluster(a_namespace("shop")), a_signal(target_type=target_type))

    assert context == KubernetesContext(degraded_mode=True)


@pytest.mark.requirement("BR-SP-112")
async def test_unknown_kind_without_a_namespace_degrades():
    context = await context_of(a_cluster(a_namespace("shop")), a_signal(kind="Gadget", at=""))

    assert context == KubernetesContext(degraded_mode=True)


async def test_namespace_as_target_is_its_own_namespace():
    context = await context_of(
        a_cluster(a_namespace("shop", "staging")), a_signal(kind="Namespace", target="shop", at="")
    )

    assert context.namespace.labels == context.workload.labels == {"kubernaut.ai/environment": "staging"}


@pytest.mark.requirement("DEFECT-14")
async def test_nothing_secret_gets_into_the_context():
    applied = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "example.com/api-token": "abc123"}
    pod = an_object("Pod", "p", annotations=applied)

    context = await context_of(a_cluster(a_namespace("shop"), pod), a_signal(target="p"))

    assert context.workload.annotations == {"example.com/api-token": "[REDACTED]"}


async def test_unreachable_api_server_raises_because_a_retry_helps():
    class Unanswering(Manifests):
        async def resolve(self, reference: ObjectReference) -> ResolvedObject | None:
            raise ApiServerUnreachable("no answer")

    with pytest.raises(ApiServerUnreachable):
        await context_of(Unanswering(), a_signal())


class BrokenSessions(Manifests):
    async def resolve(self, reference: ObjectReference) -> ResolvedObject | None:
        if reference.kind == "Session":
            raise ServerError("conversion webhook failed")
        return await super().resolve(reference)


@pytest.mark.requirement("DEFECT-03")
async def test_an_owner_that_is_never_read_degrades_the_context_after_some_attempts():
    owner = an_object("Session", "s1", api_version="training.example/v1")
    cluster = a_cluster(a_namespace("shop"), an_object("Pod", "api-7d-x", owner=owned_by(owner)), of=BrokenSessions)
    signal = a_signal()
    failed = msgspec.structs.replace(signal.status, failure_info=FailureInfo(error="e", consecutive_failures=3))

    with pytest.raises(ServerError):
        await enrichment.enrich(cluster, signal)
    enriched = await enrichment.enrich(cluster, msgspec.structs.replace(signal, status=failed))

    assert enriched.context.degraded_mode
    assert [(hop.name, hop.note) for hop in enriched.context.owner_chain] == [("s1", "could not be read")]
    assert [reason.message for reason in enriched.degraded_reasons] == [
        "owner Session could not be read: conversion webhook failed"
    ]


DETECTED = {
    "argo by tracking id": (
        {"annotations": {"argocd.argoproj.io/tracking-id": "x"}},
        {},
        {"git_ops_managed": True, "git_ops_tool": "argocd"},
    ),
    "flux by the deployment": (
        {},
        {"labels": {"fluxcd.io/sync-gc-mark": "x"}},
        {"git_ops_managed": True, "git_ops_tool": "flux"},
    ),
    "helm": ({}, {"labels": {"helm.sh/chart": "api-1"}}, {"helm_managed": True}),
    "istio": ({"annotations": {"sidecar.istio.io/status": "{}"}}, {}, {"service_mesh": "istio"}),
    "linkerd": ({"annotations": {"linkerd.io/proxy-version": "2"}}, {}, {"service_mesh": "linkerd"}),
    "nothing": ({}, {}, {}),
}


@pytest.mark.parametrize("case", DETECTED)
@pytest.mark.requirement("BR-SP-101")
async def test_characteristics_are_detected(case: str):
    of_pod, of_deployment, expected = DETECTED[case]
    deployment = an_object("Deployment", "api", **of_deployment)
    pod = an_object("Pod", "p", owner=owned_by(deployment), **of_pod)

    labels = (await context_of(a_cluster(a_namespace("shop"), deployment, pod), a_signal(target="p"))).detected_labels

    found = {key: value for key, value in msgspec.structs.asdict(labels).items() if value}
    assert found == expected


async def test_lists_of_the_namespace_are_detected():
    deployment = an_object("Deployment", "api")
    scaler = an_object(
        HORIZONTAL_POD_AUTOSCALER.kind, "api", spec={"scaleTargetRef": {"kind": "Deployment", "name": "api"}}
    )
    others = [an_object(kind, "x") for kind in ("NetworkPolicy", "ResourceQuota")]
    pod = an_object("Pod", "p", owner=owned_by(deployment), labels={"app": "api"})
    budget = an_object(POD_DISRUPTION_BUDGET.kind, "b", spec={"selector": {"matchLabels": {"app": "api"}}})
    elsewhere = an_object(POD_DISRUPTION_BUDGET.kind, "b", "other", spec={"selector": {}})

    cluster = a_cluster(a_namespace("shop"), deployment, scaler, *others, pod, budget, elsewhere)
    labels = (await context_of(cluster, a_signal(target="p"))).detected_labels

    assert labels.hpa_enabled
    assert labels.pdb_protected
    assert labels.network_isolated
    assert labels.resource_quota_constrained


async def test_stateful_by_its_owner():
    owner = an_object("StatefulSet", "db")
    cluster = a_cluster(a_namespace("shop"), owner, an_object("Pod", "db-0", owner=owned_by(owner)))

    assert (await context_of(cluster, a_signal(target="db-0"))).detected_labels.stateful


@pytest.mark.parametrize(
    ("operator", "values", "matches"),
    [
        ("In", ["a", "b"], True),
        ("In", ["c"], False),
        ("NotIn", ["a"], False),
        ("NotIn", ["c"], True),
        ("Exists", None, True),
        ("DoesNotExist", None, False),
        ("Strange", None, False),
    ],
)
def test_selector_expressions(operator, values, matches):
    selector = LabelSelector(match_expressions=[LabelSelectorRequirement(key="k", operator=operator, values=values)])

    assert selector.matches({"k": "a"}) is matches
    assert LabelSelector().matches({})


@pytest.mark.requirement("BR-SP-003")
async def test_recovery_context_has_the_earlier_attempts():
    remediation = an_object("RemediationRequest", "rr-1", "kubernaut-system", spec={"signalName": "x"})
    remediation["status"] = {
        "recoveryAttempts": 2,
        "failureReason": "password=hunter2 refused",
        "startTime": "2026-01-01T00:00:00Z",
    }
    signal = a_signal(parent="rr-1")

    found = await enrichment.recovery_of(
        a_cluster(remediation), signal.spec.remediation_request_ref, "kubernaut-system"
    )

    assert (found.attempt_count, found.previous_remediation_id) == (2, "rr-1")
    assert found.last_failure_reason == "password=[REDACTED] refused"
    assert found.time_since_first_failure.endswith("s")


@pytest.mark.requirement("BR-SP-003")
async def test_first_attempt_has_no_recovery():
    remediation = an_object("RemediationRequest", "rr-1", "kubernaut-system", spec={"signalName": "x"})
    reference = a_signal(parent="rr-1").spec.remediation_request_ref

    assert await enrichment.recovery_of(a_cluster(remediation), reference, "kubernaut-system") is None
    assert await enrichment.recovery_of(a_cluster(), reference, "kubernaut-system") is None
