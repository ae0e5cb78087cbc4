# The policy of the integration suite: the one of December 2025 in today's form and casing.
package signalprocessing

import rego.v1

# --- environment: the namespace's label; what it leaves open is decided by the ConfigMap mapping --------------------

_environments := {"production": "Production", "staging": "Staging", "development": "Development", "test": "Test"}

default environment := {"environment": "Unknown", "source": "default"}

environment := {"environment": name, "source": "namespace-labels"} if {
	name := _environments[lower(input.namespace.labels["kubernaut.ai/environment"])]
}

# --- severity: an unmapped word is left undefined, "trigger-error" has an answer that is none -----------------------

_severities := {
	"critical": "critical",
	"high": "high",
	"warning": "warning",
	"info": "info",
	"sev1": "critical",
	"p0": "critical",
	"p1": "critical",
	"sev2": "high",
	"p2": "high",
	"sev3": "warning",
	"p3": "warning",
	"sev4": "info",
	"p4": "info",
	"trigger-error": "no-severity",
}

severity := _severities[lower(input.signal.severity)]

# --- priority -------------------------------------------------------------------------------------------------------

_priorities := {
	"Production": {"critical": "P0", "high": "P1", "warning": "P1"},
	"Staging": {"critical": "P1", "high": "P2", "warning": "P2"},
	"Development": {"critical": "P2", "high": "P3", "warning": "P3"},
	"Unknown": {"critical": "P1", "high": "P2", "warning": "P2"},
}

default priority := {"priority": "P3", "policy_name": "everything-else"}

priority := {
	"priority": _priorities[environment.environment][severity],
	"policy_name": concat("-", [lower(environment.environment), severity]),
}

# --- labels: every `kubernaut.ai/KEY` of the namespace --------------------------------------------------------------

labels[key] := [value] if {
	some label, value in input.namespace.labels
	startswith(label, "kubernaut.ai/")
	key := trim_prefix(label, "kubernaut.ai/")
	value != ""
}
