"""Served resources: the order of versions, the types of built-in kinds, conversion between versions."""

import pytest

from pocketkube.resources import conversion
from pocketkube.resources.builtin import builtin_resources
from pocketkube.resources.builtin_types import definition_name, node_of
from pocketkube.resources.registry import version_rank

BY_KIND = {(resource.group, resource.kind): resource for resource in builtin_resources()}


def test_preferred_versions_come_first():
    found = sorted(["v1alpha1", "v2", "v1beta2", "v1", "v10", "v1beta1", "other"], key=version_rank)

    assert found == ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "other"]


@pytest.mark.parametrize("resource", builtin_resources(), ids=lambda resource: f"{resource.group}/{resource.kind}")
def test_every_built_in_kind_has_a_type(resource):
    assert definition_name(resource)
    assert "metadata" in node_of(resource).properties


def test_events_change_their_names_with_their_version():
    core, new = BY_KIND["", "Event"], BY_KIND["events.k8s.io", "Event"]
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {}, "message": "m", "involvedObject": {"name": "p"}}

    seen = conversion.to_served(new, event)

    assert seen["note"] == "m"
    assert seen["regarding"] == {"name": "p"}
    assert conversion.to_stored(new, seen) == event
    assert conversion.to_served(core, event) == event
