"""Each permission of the chart is needed: without it, a check with a name fails.

A few are taken away here; `make permissions` takes away every one, which needs a real API server with RBAC.
"""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from integration.deploy.test_release import rbac, release  # noqa: F401 - fixtures
from support.permission_checks import failed_checks, install_kinds
from support.permissions import ACCESS, ACCOUNTS, LEDGER_KEYS, VALUES, Permission, permissions_of, without
from support.release import Services, make_ledger_keys

WANTED = os.environ.get("PERMISSIONS", "")
"""`all`, or what the texts of permissions contain, such as `gateway: get,tokenreviews`; empty: the sample."""
PEOPLE = ("auditor", "operator")
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
    await release.install(VALUES)
    await make_ledger_keys(release)
    await install_kinds(release)
    opened = Services(release=release, database_url=migrated_database)
    async with AsyncExitStack() as stack:
        await opened.open_datastorage(stack)
        yield opened


async def test_without_a_permission_a_named_check_fails(services):
    accounts = {account: await services.release.new_account(account) for account in ("alertmanager", *PEOPLE)}
    accounts["signalprocessing-controller"] = await services.release.token("signalprocessing-controller")
    tokens = {role: accounts[account] for role, account in ACCESS.items()}
    useless, unexpected = set(), {}
    for service in (*ACCOUNTS, *ACCESS, LEDGER_KEYS):
        granted = await permissions_of(services.release, service)
        wanted = [permission for permission in granted if _is_wanted(permission)]
        assert {each for each in SAMPLE if each.service == service} <= set(granted)
        assert not wanted or await failed_checks(services, service, tokens) == set()
        for permission in wanted:
            async with without(services.release, permission):
                failed = await failed_checks(services, service, tokens)
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
