package signalprocessing

import rego.v1

default environment := {"environment": "Unknown", "source": "default"}

risky if input.namespace.labels.tier == "gold"
severity := "critical" if risky with input.namespace.labels.tier as lower(input.namespace.labels.tier) else := "info"
priority := {"priority": "P1", "policy_name": "as-gold"} if { risky with input.namespace as {"labels": {"tier": "gold"}}; input.signal.severity == "critical" } else := {"priority": "P2", "policy_name": "plain"}
labels := {"n": [format_int(numbers.range(1, 4)[2] * 2, 2)]}
