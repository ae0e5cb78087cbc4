package signalprocessing

import rego.v1

default environment := {"environment": "Unknown", "source": "default"}

values := [to_number(v) | some v in split(input.signal.labels.values, ",")]
mean := sum(values) / count(values)
severity := "critical" if mean > 10 else := "high" if mean > 2.5 else := "info"
priority := {"priority": "P1", "policy_name": format_int(round(mean), 10)} if mean >= 1 else := {"priority": "P3", "policy_name": "low"}
labels := {"max": [sprintf("%v", [max(values)])], "half": [sprintf("%.2f", [max(values) + 0.25])]}
