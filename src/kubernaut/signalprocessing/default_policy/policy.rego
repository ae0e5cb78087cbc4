# The policy that decides when you give none; copy it and make it yours.
#
# Answers that are asked for: environment, severity, priority, labels, cluster.
# A rule that is left undefined, or an environment "Unknown" from source "default", lets the ConfigMap
# `kubernaut-environment-config` decide the environment; the other rules then see that environment.
#
# Labels of the signal itself are set by whoever raises the alert. Nothing here trusts them.
package signalprocessing

import rego.v1

# --- environment: from the namespace's own label and from nothing else ---------------------------------------------

_environments := {
	"production": "Production",
	"prod": "Production",
	"staging": "Staging",
	"stage": "Staging",
	"development": "Development",
	"dev": "Development",
	"test": "Test",
}

default environment := {"environment": "Unknown", "source": "default"}

environment := {"environment": name, "source": "namespace-labels"} if {
	name := _environments[lower(input.namespace.labels["kubernaut.ai/environment"])]
}

# --- severity: what senders write, in our five words ---------------------------------------------------------------

_severities := {
	"critical": "critical",
	"crit": "critical",
	"fatal": "critical",
	"emergency": "critical",
	"emerg": "critical",
	"alert": "critical",
	"panic": "critical",
	"disaster": "critical",
	"blocker": "critical",
	"page": "critical",
	"sev0": "critical",
	"sev1": "critical",
	"p0": "critical",
	"p1": "critical",
	"down": "critical",
	"highest": "critical",
	"severity0": "critical",
	"severity1": "critical",
	"priority0": "critical",
	"priority1": "critical",
	"1critical": "critical",
	"p1critical": "critical",
	"s1": "critical",
	"catastrophic": "critical",
	"high": "high",
	"error": "high",
	"err": "high",
	"major": "high",
	"severe": "high",
	"urgent": "high",
	"sev2": "high",
	"p2": "high",
	"severity2": "high",
	"priority2": "high",
	"2high": "high",
	"p2high": "high",
	"s2": "high",
	"serious": "high",
	"warning": "warning",
	"warn": "warning",
	"medium": "warning",
	"moderate": "warning",
	"average": "warning",
	"minor": "warning",
	"ticket": "warning",
	"sev3": "warning",
	"p3": "warning",
	"severity3": "warning",
	"priority3": "warning",
	"3medium": "warning",
	"3moderate": "warning",
	"p3medium": "warning",
	"p3moderate": "warning",
	"s3": "warning",
	"info": "info",
	"information": "info",
	"informational": "info",
	"low": "info",
	"notice": "info",
	"debug": "info",
	"ok": "info",
	"normal": "info",
	"none": "info",
	"sev4": "info",
	"sev5": "info",
	"p4": "info",
	"p5": "info",
	"severity4": "info",
	"severity5": "info",
	"priority4": "info",
	"priority5": "info",
	"s4": "info",
	"5planning": "info",
	"4low": "info",
	"p4low": "info",
	"lowest": "info",
	"trivial": "info",
	"trace": "info",
	"verbose": "info",
	"clear": "info",
	"cleared": "info",
	"success": "info",
}

default severity := "unknown"

# `SEV-1`, `sev 1` and `Sev_1` are one word. A bare number is none: 1 is the worst for some senders and the least for others.
severity := _severities[replace(replace(replace(lower(trim_space(input.signal.severity)), "-", ""), "_", ""), " ", "")]

# --- priority: how bad, and where ----------------------------------------------------------------------------------

_priorities := {
	"Production": {"critical": "P0", "high": "P1", "warning": "P1", "info": "P2", "unknown": "P2"},
	"Staging": {"critical": "P1", "high": "P2", "warning": "P2", "info": "P3", "unknown": "P2"},
	"Development": {"critical": "P2", "high": "P3", "warning": "P3", "info": "P3", "unknown": "P3"},
	"Test": {"critical": "P2", "high": "P3", "warning": "P3", "info": "P3", "unknown": "P3"},
	"Unknown": {"critical": "P1", "high": "P1", "warning": "P2", "info": "P3", "unknown": "P2"},
}

default priority := {"priority": "P2", "policy_name": "default"}

priority := {
	"priority": _priorities[environment.environment][severity],
	"policy_name": concat("-", [lower(environment.environment), severity]),
}

# --- labels: for whoever picks a remedy; the namespace's word counts before the workload's --------------------------

_forwarded := {
	"kubernaut.ai/team": "team",
	"kubernaut.ai/tier": "tier",
	"kubernaut.ai/cost-center": "cost-center",
	"kubernaut.ai/region": "region",
}

labels[name] := [value] if {
	some label, value in input.namespace.labels
	name := _forwarded[label]
	value != ""
}

labels[name] := [value] if {
	some label, value in input.workload.labels
	name := _forwarded[label]
	not input.namespace.labels[label]
	value != ""
}

# --- cluster: where the fleet's registry labels it ------------------------------------------------------------------

cluster := input.cluster.labels.environment
