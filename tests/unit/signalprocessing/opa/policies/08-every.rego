package signalprocessing

import rego.v1

default environment := {"environment": "Unknown", "source": "default"}

severity := "critical" if { every k, v in input.namespace.labels { v != ""; not startswith(k, "x-") } } else := "info"
priority := {"priority": "P1", "policy_name": "all"} if { every c in split(input.namespace.name, "-") { count(c) > 2 } } else := {"priority": "P3", "policy_name": "some"}
labels := {}
