"""Signals through all phases; most of the suite."""

from uuid import uuid4

import pytest
from signals import PHASES


@pytest.mark.parametrize("kind", ["pod", "node", "deployment", "service", "job", "volume", "ingress"])
@pytest.mark.parametrize("level", ["critical", "warning"])
def test_signal_completes(client, kind, level):
    namespace = f"{kind}-{level}-{uuid4().hex[:8]}"
    client.create_namespace(namespace)

    assert client.process(namespace) == PHASES
