# The rules of a `policy.rego`, each as a list that is empty when the rule is undefined.
# `…_with_fallback` are the same rules, evaluated with `input.fallbackEnvironment` in place of the policy's environment.
package kubernaut_entry

import rego.v1

environment := [x | x := data.signalprocessing.environment]

severity := [x | x := data.signalprocessing.severity]

priority := [x | x := data.signalprocessing.priority]

labels := [x | x := data.signalprocessing.labels]

cluster := [x | x := data.signalprocessing.cluster]

severity_with_fallback := [x | x := data.signalprocessing.severity with data.signalprocessing.environment as input.fallbackEnvironment]

priority_with_fallback := [x | x := data.signalprocessing.priority with data.signalprocessing.environment as input.fallbackEnvironment]

labels_with_fallback := [x | x := data.signalprocessing.labels with data.signalprocessing.environment as input.fallbackEnvironment]

cluster_with_fallback := [x | x := data.signalprocessing.cluster with data.signalprocessing.environment as input.fallbackEnvironment]

decision := {
	"environment": [x | x := data.signalprocessing.environment],
	"severity": [x | x := data.signalprocessing.severity],
	"priority": [x | x := data.signalprocessing.priority],
	"labels": [x | x := data.signalprocessing.labels],
	"cluster": [x | x := data.signalprocessing.cluster],
}

decision_with_fallback := {
	"environment": environment,
	"severity": severity_with_fallback,
	"priority": priority_with_fallback,
	"labels": labels_with_fallback,
	"cluster": cluster_with_fallback,
}
