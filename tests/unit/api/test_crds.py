"""The manifests are derived from the types, and the committed ones are the derived ones."""

import subprocess
import sys
from pathlib import Path

import pytest

from kubernaut.api.crds import all_crds, signal_processing_crd, structural_schema
from kubernaut.api.signals import SignalSpec, SignalStatus

ROOT = Path(__file__).resolve().parents[3]


def test_committed_manifests_are_the_derived_ones():
    checked = subprocess.run([sys.executable, ROOT / "scripts/generate", "--check"], capture_output=True, text=True)

    assert checked.returncode == 0, checked.stderr


def walk(schema, path=""):
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from walk(inner, f"{path}.{name}")
    for part in ("items", "additionalProperties"):
        if isinstance(schema.get(part), dict):
            yield from walk(schema[part], f"{path}[]")


@pytest.mark.parametrize("of", [SignalSpec, SignalStatus])
def test_schemas_are_structural(of):
    for path, schema in walk(structural_schema(of)):
        assert "type" in schema, path
        assert not {"$ref", "anyOf", "title", "default"} & set(schema), path


@pytest.mark.requirement("LESSON-01")
def test_words_of_the_contract_keep_their_spelling():
    spec = dict(walk(structural_schema(SignalSpec)))
    status = dict(walk(structural_schema(SignalStatus)))

    assert {".signal.clusterID", ".signal.providerData", ".timesOutAt", ".remediationRequestRef.uid"} <= set(spec)
    assert {".kubernetesContext.ownerChain[].api_version", ".kubernetesContext.clusterID"} <= set(status)
    assert status[".phase"]["enum"] == sorted(
        ["Pending", "Enriching", "Classifying", "Categorizing", "Completed", "Failed"]
    )
    assert spec[".signal.fingerprint"]["pattern"] == "^[a-f0-9]{64}$"


@pytest.mark.requirement("LESSON-18")
def test_short_name_subresource_and_immutability_are_there():
    crd = signal_processing_crd()
    (version,) = crd["spec"]["versions"]
    rules = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"]

    assert crd["spec"]["names"]["shortNames"] == ["sp"]
    assert version["subresources"] == {"status": {}}
    assert rules[0]["rule"] == "self.remediationRequestRef.name != ''"
    assert rules[1]["rule"].startswith("self == oldSelf || ")
    assert len(rules) == 2
    assert len(all_crds()) == 2
