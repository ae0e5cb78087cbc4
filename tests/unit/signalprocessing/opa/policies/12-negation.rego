package signalprocessing

import rego.v1

default environment := {"environment": "Unknown", "source": "default"}

severity := "info" if not to_number(input.signal.labels.value) else := "warning"
priority := {"priority": "P3", "policy_name": "none"} if not input.namespace.labels.team else := {"priority": "P2", "policy_name": input.namespace.labels.team}
labels := {"v": [x | x := input.signal.labels.value; not json.unmarshal(x)]}
