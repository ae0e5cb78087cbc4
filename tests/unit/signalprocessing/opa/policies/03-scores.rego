package signalprocessing

import rego.v1

default environment := {"environment": "Unknown", "source": "default"}

default severity := "info"
severity := {"Critical": "critical", "CRITICAL": "critical", "sev1": "critical", "warn": "warning"}[input.signal.severity]
scores := {"critical": 3, "warning": 2, "info": 1}
tier := {"gold": 3, "silver": 2}
score := scores[severity] + object.get(tier, object.get(input.namespace, ["labels", "tier"], "none"), 0)
priority := {"priority": p, "policy_name": concat("-", ["score", format_int(score, 10)])} if p := ["P3", "P3", "P2", "P2", "P1", "P1", "P0"][score]
labels[k] := [v] if some k, v in input.signal.labels
