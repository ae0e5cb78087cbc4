package signalprocessing

import rego.v1

default environment := {"environment": "Unknown", "source": "default"}

owner := input.workload.ownerChain[count(input.workload.ownerChain) - 1]
severity := "high" if owner.kind == "Deployment" else := "info"
priority := {"priority": "P1", "policy_name": lower(owner.kind)} if owner.kind in ["Deployment", "StatefulSet"] else := {"priority": "P2", "policy_name": "no-owner"}
labels := {"owners": [concat("/", [o.kind, o.name]) | some o in input.workload.ownerChain]}
