# METADATA
# title: Platform policy
# description: who is woken
package signalprocessing

import rego.v1
import input.signal as s
import input.namespace as ns
import input.workload

# METADATA
# scope: rule
default environment := {"environment": "Unknown", "source": "default"}

environment := {"environment": "Production", "source": "label"} if ns.labels["kubernaut.ai/environment"] == "production"
else := {"environment": "Staging", "source": "name"} if endswith(ns.name, "-staging")
else := {"environment": env, "source": "glob"} if {
	some pattern, env in globs
	glob.match(pattern, ["-"], ns.name)
}

globs := {"prod-*": "Production", "dev-*": "Development", "kube-*": "Test"}

default severity := "unknown"
severity := sev if sev := severities[lower(s.severity)]
severities := {"critical": "critical", "sev1": "critical", "sev-1": "critical", "p1": "critical", "sev2": "high", "warning": "warning", "info": "info"}

priority := {"priority": p, "policy_name": n} if {
	[p, n] := matrix[environment.environment][severity]
} else := {"priority": "P3", "policy_name": "else"}

matrix := {
	"Production": {"critical": ["P0", "pc"], "high": ["P1", "ph"]},
	"Staging": {"critical": ["P1", "sc"], "high": ["P2", "sh"]},
}

labels.team contains t if t := ns.labels["kubernaut.ai/team"]
labels.team contains t if t := ns.labels.team
labels.owner contains o.name if some o in workload.ownerChain
labels[k] contains v if {
	some k, v in ns.labels
	k in {"tier", "cost"}
}
has_owner if some _ in workload.ownerChain
