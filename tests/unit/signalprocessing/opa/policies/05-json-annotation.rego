package signalprocessing

import rego.v1

default environment := {"environment": "Unknown", "source": "default"}

hints := json.unmarshal(input.workload.annotations.hints)
default severity := "unknown"
severity := hints.severity
priority := {"priority": hints.priority, "policy_name": "hint"} if hints.priority in {"P0", "P1", "P2", "P3"} else := {"priority": "P3", "policy_name": "none"}
labels := {"keys": [k | some k, _ in hints]}
