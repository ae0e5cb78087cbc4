package signalprocessing

import rego.v1

default environment := {"environment": "Unknown", "source": "default"}

environment := {"environment": "Production", "source": "regex"} if regex.match(`^(prod|live)(-\w+)*$`, input.namespace.name)
severity := "critical" if regex.match(`(?i)^(crit|sev-?1)`, input.signal.severity) else := "info"
priority := {"priority": "P1", "policy_name": regex.replace(input.signal.name, `[^A-Za-z]+`, "_")}
labels := {"words": regex.split(`[-.]`, input.workload.name)}
