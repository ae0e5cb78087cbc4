package signalprocessing

import rego.v1

default environment := {"environment": "Unknown", "source": "default"}

wanted := {"team", "region", "tier"}
present := {k | some k, _ in input.namespace.labels}
missing := wanted - present
severity := "warning" if count(missing) > 0 else := "info"
priority := {"priority": "P2", "policy_name": concat(",", sort(missing))}
labels := {"both": present & wanted, "all": present | wanted}
