"""A client and a namespace of one's own on a real API server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kubernaut.kube.client import Client, ClientConfig, open_client
from kubernaut.kube.objects import Key
from support.kinds import NAMESPACE


@pytest.fixture
async def client(kubernetes: Path) -> AsyncIterator[Client]:
    # Pages of three: every list of more than that is paged.
    async with open_client(ClientConfig(kubeconfig=kubernetes, field_manager="kubernaut-test", page_size=3)) as opened:
        yield opened


@pytest.fixture
async def namespace(client: Client) -> AsyncIterator[str]:
    made = await client.create(NAMESPACE, {"metadata": {"generateName": "kube-"}})
    yield made.metadata.name
    await client.delete(NAMESPACE, Key("", made.metadata.name))
