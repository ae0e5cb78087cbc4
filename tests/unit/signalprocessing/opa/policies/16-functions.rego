package signalprocessing

import rego.v1

default environment := {"environment": "Unknown", "source": "default"}

rank(s) := 3 if s == "critical"
rank(s) := 2 if s in {"high", "error"}
default rank(_) := 0
clean(s) := replace(lower(trim(s, " \t")), "_", "-")
severity := ["info", "info", "high", "critical"][rank(clean(input.signal.severity))]
priority := {"priority": ["P3", "P2", "P1", "P0"][rank(clean(input.signal.severity))], "policy_name": clean(input.signal.name)}
labels := {"first": [substring(clean(input.signal.name), 0, 5)], "at": [format_int(indexof(input.signal.name, "o"), 10)]}
