"""The input document: all that a policy gets to see.

```json
{
  "signal": {"name": "HighMemory", "severity": "Sev2", "type": "alert", "source": "prometheus",
             "labels": {"alertname": "HighMemory"}, "untrustedLabels": {"alertname": "HighMemory"}},
  "namespace": {"name": "shop", "labels": {"kubernaut.ai/environment": "production"}},
  "workload": {"kind": "Pod", "name": "api-7d-x", "labels": {"app": "api"}, "annotations": {"k": "v"},
               "ownerChain": [{"kind": "Deployment", "name": "api", "namespace": "shop", "apiVersion": "apps/v1"}]},
  "detectedLabels": {"hpaEnabled": true, "failedDetections": ["pdbProtected"]},
  "cluster": {"labels": {"environment": "production"}},
  "fallbackEnvironment": {"environment": "Unknown", "source": "default"}
}
```

Empty maps and lists are left out, and so is a detected label that is false. Without a namespace its name is "", without
a workload its kind and name are. `signal.labels` are the sender's; hence the name `untrustedLabels`.
`fallbackEnvironment` is what the environment becomes when the policy leaves it open.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from kubernaut.api.signals import KubernetesContext, Signal
from kubernaut.api.vocabulary import Environment, EnvironmentSource
from kubernaut.signalprocessing.policy.sources import Form


@dataclass(frozen=True, kw_only=True)
class PolicyInput:
    """What is known about one signal before it is decided."""

    signal: Signal
    context: KubernetesContext
    mapped_environment: Environment | None = None
    """The environment of the namespace by the environment mapping."""

    @property
    def fallback_environment(self) -> tuple[Environment, EnvironmentSource]:
        """What holds when the policy leaves the environment open."""
        if self.mapped_environment is None:
            return Environment.UNKNOWN, EnvironmentSource.DEFAULT
        return self.mapped_environment, EnvironmentSource.CONFIGMAP


def encode(policy_input: PolicyInput, form: Form = Form.UNIFIED) -> bytes:
    """The input as JSON."""
    context = policy_input.context
    environment, source = policy_input.fallback_environment
    content: dict[str, Any] = {
        "signal": _signal(policy_input.signal),
        "namespace": {"name": ""},
        "workload": {"kind": "", "name": ""},
        "fallbackEnvironment": {"environment": environment, "source": source},
    }
    if context.namespace:
        content["namespace"] = _without_empty(name=context.namespace.name, labels=context.namespace.labels)
    if context.workload:
        content["workload"] = _without_empty(
            kind=context.workload.kind,
            name=context.workload.name,
            labels=context.workload.labels,
            annotations=context.workload.annotations,
        )
    if context.owner_chain:
        content["workload"]["ownerChain"] = [
            _without_empty(kind=owner.kind, name=owner.name, namespace=owner.namespace, apiVersion=owner.api_version)
            for owner in context.owner_chain
        ]
    if context.detected_labels:
        content["detectedLabels"] = context.detected_labels
    if context.cluster and context.cluster.labels:
        content["cluster"] = {"labels": context.cluster.labels}
    if form is Form.PER_DIMENSION:
        _add_per_dimension(content, policy_input)
    return msgspec.json.encode(content)


def _signal(signal: Signal) -> dict[str, Any]:
    content: dict[str, Any] = {"name": signal.name, "severity": signal.severity, "type": signal.type}
    return content | _without_empty(source=signal.source, labels=signal.labels, untrustedLabels=signal.labels)


def _without_empty(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value}


def _add_per_dimension(content: dict[str, Any], policy_input: PolicyInput) -> None:
    """The names that per-dimension policies read; maps are always present."""
    context = policy_input.context
    namespace, workload = context.namespace, context.workload
    labels = namespace.labels if namespace else {}
    is_deployment = workload is not None and workload.kind == "Deployment"
    deployment = workload.labels if workload and is_deployment else {}
    content["namespace"] = {
        "name": namespace.name if namespace else "",
        "labels": labels,
        "annotations": namespace.annotations if namespace else {},
    }
    content["namespace_labels"] = labels
    content["deployment_labels"] = deployment
    content["deployment"] = {"labels": deployment}
    content["kubernetes"] = context
    content["detected_labels"] = context.detected_labels or {}
