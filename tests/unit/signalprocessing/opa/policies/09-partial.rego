package signalprocessing

import rego.v1

default environment := {"environment": "Unknown", "source": "default"}

reasons contains "mem" if contains(lower(input.signal.name), "memory")
reasons contains "cpu" if contains(lower(input.signal.name), "cpu")
reasons contains upper(input.signal.type) if input.signal.type
severity := "high" if "mem" in reasons else := "info"
priority := {"priority": "P2", "policy_name": concat("+", reasons)}
labels[r] := ["yes"] if some r in reasons
