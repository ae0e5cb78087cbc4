"""The permissions that the chart gives, one by one, and a release with one of them less."""

import copy
import itertools
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from kubernaut.kube.objects import Key, Kind, Unstructured
from support.eventually import eventually
from support.release import VALUES as DEFAULTS
from support.release import Release

RBAC = "rbac.authorization.k8s.io"
ROLE = Kind(group=RBAC, version="v1", kind="Role", plural="roles", type=Unstructured)
CLUSTER_ROLE = replace(ROLE, kind="ClusterRole", plural="clusterroles", namespaced=False)
ACCOUNTS = {"controller": "signalprocessing-controller", "gateway": "gateway", "datastorage": "data-storage"}
ACCESS = {
    "alert-senders": "alertmanager",
    "audit-writers": "signalprocessing-controller",
    "audit-readers": "auditor",
    "audit-operators": "operator",
}
"""Roles that let others use a service, and an account that has each."""
LEDGER_KEYS = "kubernaut-ledger-keys"
VALUES: Mapping[str, Any] = {
    **DEFAULTS,
    # An election, a retention that these checks can wait for, and Kubernetes Events as alerts.
    "controller": {"replicas": 2, "config": {"controller": {"retention": "5s", "retryPeriod": "0.5s"}}},
    "gateway": {**DEFAULTS["gateway"], "config": {"intake": {"kubernetesEvents": {"types": ["Warning"]}}}},
    "datastorage": {
        **DEFAULTS["datastorage"],
        "operators": [{"kind": "ServiceAccount", "name": ACCESS["audit-operators"], "namespace": "{namespace}"}],
    },
}


@dataclass(frozen=True, order=True)
class Permission:
    """One verb on one resource, of a service's account or of a role in `ACCESS`."""

    service: str
    scope: str
    """`cluster` or `namespace`."""
    group: str
    resource: str
    verb: str
    name: str = ""
    """Of the only object that it is for."""

    def __str__(self) -> str:
        return f"{self.service}: {self.verb} {self.resource}{'.' if self.group else ''}{self.group}"


def role_of(release: Release, service: str, scope: str) -> tuple[Kind[Any], Key]:
    account = ACCOUNTS.get(service, service)
    if scope == "namespace":
        return ROLE, Key(release.namespace, account)
    return CLUSTER_ROLE, Key("", f"kubernaut-{release.namespace}-{account}")


async def permissions_of(release: Release, service: str) -> list[Permission]:
    """Every permission that the chart gives the service or the role, one by one."""
    found = []
    for scope in _SCOPES.get(service, ("namespace",)):
        kind, key = role_of(release, service, scope)
        for rule in (await release.client.get(kind, key))["rules"]:
            for group, resource, verb, name in itertools.product(
                rule["apiGroups"], rule["resources"], rule["verbs"], rule.get("resourceNames", [""])
            ):
                found.append(Permission(service, scope, group, resource, verb, name))
    return sorted(set(found))


_SCOPES = {"controller": ("cluster", "namespace"), "gateway": ("cluster", "namespace"), "datastorage": ("cluster",)}


@asynccontextmanager
async def without(release: Release, permission: Permission) -> AsyncIterator[None]:
    """The permission is taken away while the block runs."""
    kind, key = role_of(release, permission.service, permission.scope)
    role = await release.client.get(kind, key)
    reduced = copy.deepcopy(role)
    reduced["rules"] = [part for rule in role["rules"] for part in _parts(rule, permission)]
    await release.client.replace(kind, reduced)
    try:
        await eventually(lambda: _is_denied(release, permission), timeout=5, interval=0.05)
        yield
    finally:
        current = await release.client.get(kind, key)
        await release.client.replace(kind, {**current, "rules": role["rules"]})
        await eventually(lambda: _is_allowed(release, permission), timeout=5, interval=0.05)


def _parts(rule: Mapping[str, Any], permission: Permission) -> Iterable[Mapping[str, Any]]:
    is_other = permission.group not in rule["apiGroups"] or permission.resource not in rule["resources"]
    if is_other or permission.name not in rule.get("resourceNames", [""]):
        yield rule
        return
    if others := [each for each in rule["resources"] if each != permission.resource]:
        yield {**rule, "resources": others}
    if verbs := [each for each in rule["verbs"] if each != permission.verb]:
        yield {**rule, "resources": [permission.resource], "verbs": verbs}


async def _is_allowed(release: Release, permission: Permission) -> bool:
    resource, _, subresource = permission.resource.partition("/")
    attributes = {"verb": permission.verb, "group": permission.group, "resource": resource, "subresource": subresource}
    if permission.scope == "namespace":
        attributes |= {"namespace": release.namespace, "name": permission.name}
    account = {**ACCOUNTS, **ACCESS}.get(permission.service, permission.service)
    user = f"system:serviceaccount:{release.namespace}:{account}"
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": attributes},
    }
    answer = await release.client.post_raw("/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
    return bool(msgspec.json.decode(answer)["status"]["allowed"])


async def _is_denied(release: Release, permission: Permission) -> bool:
    return not await _is_allowed(release, permission)
