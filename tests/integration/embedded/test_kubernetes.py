"""The Kubernetes API a test or a stack works with."""

import pytest

from kubernaut.api.signals import GROUP, KIND, PLURAL, VERSION
from kubernaut.kube.client import ClientConfig, ListOptions, open_client
from kubernaut.kube.objects import Kind, Unstructured

SIGNALS = Kind(group=GROUP, version=VERSION, kind=KIND, plural=PLURAL, type=Unstructured)


@pytest.mark.kubernetes
async def test_our_kinds_can_be_listed(kubernetes_with_crds):
    async with open_client(ClientConfig(kubeconfig=kubernetes_with_crds)) as client:
        listing = await client.list(SIGNALS, ListOptions(namespace="a-namespace-without-signals"))

    assert listing.items == []
    assert listing.resource_version
