package signalprocessing

import rego.v1

default environment := {"environment": "Unknown", "source": "default"}

severity := "critical" if input.signal.severity == "critical"
severity := "high" if input.namespace.name == "shop"
priority := {"priority": "P2", "policy_name": "x"}
labels := {}
