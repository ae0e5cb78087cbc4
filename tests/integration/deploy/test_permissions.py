"""Each permission of the chart is needed: without it, a check with a name fails.

A few are taken away here; `make permissions` takes away every one, which needs a real API server with RBAC.
"""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from integration.deploy.test_release import make_ledger_keys, rbac, release  # noqa: F401 - fixtures
from support.permissions import Permission, failed_checks, install_kinds, permissions_of, without
from support.release import Services

WANTED = os.environ.get("PERMISSIONS", "")
"""`all`, or what the texts of permissions contain, such as `gateway: get,tokenreviews`; empty: the sample."""
UNPROVEN = {
    # No check here makes the same Event happen twice.
    Permission("controller", "namespace", "", "events", "patch"),
    # Only two gateways that create one request at the same time read it.
    Permission("gateway", "namespace", "kubernaut.ai", "remediationrequests", "get"),
    # One replica elects no leader, and retention and finalizers take longer than these checks wait.
    *(
        Permission("controller", "namespace", "coordination.k8s.io", "leases", verb)
        for verb in ("create", "get", "patch")
    ),
    *(Permission("controller", "namespace", "kubernaut.ai", "signalprocessings", verb) for verb in ("patch", "delete")),
    Permission("controller", "namespace", "kubernaut.ai", "remediationrequests", "delete"),
    # Kubernetes 1.20, the only server with RBAC at hand, does not have these in the version that is listed.
    *(
        Permission("controller", "cluster", group, resource, verb)
        for group, resource in (
            ("batch", "cronjobs"),
            ("autoscaling", "horizontalpodautoscalers"),
            ("policy", "poddisruptionbudgets"),
        )
        for verb in ("list", "watch")
    ),
}
SAMPLE = {
    Permission("controller", "cluster", "apps", "deployments", "list"): "a Deployment is found",
    Permission("controller", "namespace", "kubernaut.ai", "signalprocessings/status", "patch"): "a Pod is found",
    Permission("gateway", "namespace", "kubernaut.ai", "signalprocessings", "create"): "an alert names a Pod",
    Permission("datastorage", "cluster", "authentication.k8s.io", "tokenreviews", "create"): "an auditor may read",
}

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(3600 if WANTED else 240)]


@pytest.fixture
async def services(release, rbac, migrated_database) -> AsyncIterator[Services]:  # noqa: F811 - a fixture
    """DataStorage of a release; the tests start the others."""
    await release.install()
    await make_ledger_keys(release)
    await install_kinds(release)
    opened = Services(release=release, database_url=migrated_database)
    async with AsyncExitStack() as stack:
        await opened.open_datastorage(stack)
        yield opened


async def test_without_a_permission_a_named_check_fails(services):
    sender, auditor = [await services.release.new_account(name) for name in ("alertmanager", "auditor")]
    useless, unexpected = set(), {}
    for service in ("controller", "gateway", "datastorage"):
        granted = await permissions_of(services.release, service)
        assert {each for each in (*SAMPLE, *UNPROVEN) if each.service == service} <= set(granted)
        assert await failed_checks(services, service, sender, auditor) == set()
        for permission in granted:
            if permission in UNPROVEN or not _is_wanted(permission):
                continue
            async with without(services.release, permission):
                failed = await failed_checks(services, service, sender, auditor)
            print(f"{permission}: {', '.join(sorted(failed)) or 'NOTHING FAILS'}", flush=True)
            if not failed:
                useless.add(str(permission))
            if permission in SAMPLE and SAMPLE[permission] not in failed:
                unexpected[str(permission)] = failed

    assert (useless, unexpected) == (set(), {})


def _is_wanted(permission: Permission) -> bool:
    if not WANTED:
        return permission in SAMPLE
    return WANTED == "all" or any(part in str(permission) for part in WANTED.split(","))
