"""The classifier knows the environments of the mapping."""

import pytest


@pytest.mark.parametrize(
    ("namespace", "environment"), [("prod-shop", "production"), ("stage-shop", "staging"), ("dev-shop", "development")]
)
def test_environment(classifier, namespace, environment):
    assert classifier.environment(namespace) == environment
