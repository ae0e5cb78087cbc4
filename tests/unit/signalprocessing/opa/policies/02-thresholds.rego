package signalprocessing

import rego.v1

default environment := {"environment": "Unknown", "source": "default"}

severity := "critical" if to_number(input.signal.labels.value) > 99.5
else := "high" if to_number(input.signal.labels.value) >= 90
else := "warning" if to_number(input.signal.labels.value) >= 0.8
else := "info"
priority := {"priority": "P0", "policy_name": "value"} if to_number(input.signal.labels.value) + 0.5 > 100
else := {"priority": "P3", "policy_name": "rest"}
labels := {"value": [input.signal.labels.value]}
