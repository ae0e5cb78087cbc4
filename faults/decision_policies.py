"""Policies of which every answer tells the version."""

import hashlib

from kubernaut.api.signals import SignalProcessing

BROKEN = "package signalprocessing\nseverity := {"


def policy_text(version: str) -> str:
    """One version of the policy."""
    return f"""package signalprocessing

import rego.v1

environment := {{"environment": "Test", "source": "{version}"}}

severity := "info"

priority := {{"priority": "P3", "policy_name": "{version}"}}

labels := {{"version": ["{version}"]}}

cluster := "{version}"
"""


def versions_in(signal: SignalProcessing) -> set[str]:
    """Every version that a decided signal shows."""
    status = signal.status
    found: set[str] = set()
    if status.environment_classification:
        found.add(status.environment_classification.source)
    if status.priority_assignment:
        found.add(status.priority_assignment.policy_name)
    if status.signal_classification:
        found.add(status.signal_classification.cluster_classification)
    if status.kubernetes_context and status.kubernetes_context.custom_labels:
        found.update(status.kubernetes_context.custom_labels.get("version", []))
    return found


def hash_of(version: str) -> str:
    """What the status must show as the hash of a version."""
    return hashlib.sha256(policy_text(version).encode()).hexdigest()
