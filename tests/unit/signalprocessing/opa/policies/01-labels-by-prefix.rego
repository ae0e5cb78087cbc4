package signalprocessing

import rego.v1

default environment := {"environment": "Unknown", "source": "default"}

environment := {"environment": "Production", "source": "name"} if startswith(input.namespace.name, "prod-")
environment := {"environment": "Staging", "source": "name"} if glob.match("stag*-*", null, input.namespace.name)
default severity := "unknown"
severity := lower(trim_space(input.signal.severity))
priority := {"priority": sprintf("P%d", [rank]), "policy_name": sprintf("%s-%s", [lower(environment.environment), severity])}
rank := 0 if { environment.environment == "Production"; severity == "critical" } else := 1 if severity == "critical" else := 2
labels := {"team": [t | t := input.namespace.labels["kubernaut.ai/team"]]}
