package signalprocessing

import rego.v1

default environment := {"environment": "Unknown", "source": "default"}

patterns := {"*-eu-?": "Production", "{shop,store}": "Staging", "test[0-9]": "Test", "**.dev": "Development"}
environment := {"environment": e, "source": p} if { some p, e in patterns; glob.match(p, [], input.namespace.name) }
severity := "info"
priority := {"priority": "P3", "policy_name": concat(";", [p | some p, _ in patterns; glob.match(p, ["-"], input.namespace.name)])}
labels := {}
