"""The policy can be changed while the controller runs."""

from uuid import uuid4

import pytest


@pytest.fixture
def namespace(client):
    name = f"policy-{uuid4().hex[:8]}"
    client.create_namespace(name)
    return name


@pytest.mark.parametrize("policy", ["allow", "deny", "ask"])
def test_policy_is_reloaded(namespace, client, policy_file, policy):
    policy_file.write_text(policy)
    client.process(namespace)

    assert policy_file.read_text() == policy
