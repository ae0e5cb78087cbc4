# What is asked of a `policy.rego`: every rule at once, each answer in a list that is empty when the rule is undefined.
# `given_…` are the same rules when the policy leaves the environment open and somebody else has decided it.
package kubernaut_entry

import rego.v1

own_environment := [x | x := data.signalprocessing.environment]

own_severity := [x | x := data.signalprocessing.severity]

own_priority := [x | x := data.signalprocessing.priority]

own_labels := [x | x := data.signalprocessing.labels]

own_cluster := [x | x := data.signalprocessing.cluster]

given_severity := [x | x := data.signalprocessing.severity with data.signalprocessing.environment as input.fallbackEnvironment]

given_priority := [x | x := data.signalprocessing.priority with data.signalprocessing.environment as input.fallbackEnvironment]

given_labels := [x | x := data.signalprocessing.labels with data.signalprocessing.environment as input.fallbackEnvironment]

given_cluster := [x | x := data.signalprocessing.cluster with data.signalprocessing.environment as input.fallbackEnvironment]

own := {
	"environment": [x | x := data.signalprocessing.environment],
	"severity": [x | x := data.signalprocessing.severity],
	"priority": [x | x := data.signalprocessing.priority],
	"labels": [x | x := data.signalprocessing.labels],
	"cluster": [x | x := data.signalprocessing.cluster],
}

given := {
	"environment": own_environment,
	"severity": given_severity,
	"priority": given_priority,
	"labels": given_labels,
	"cluster": given_cluster,
}
