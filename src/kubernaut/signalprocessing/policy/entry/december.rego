# What is asked of the four files of December 2025. Each has a package of its own; priority and business class are told
# the environment in lower case as `input.environment`.
package kubernaut_entry

import rego.v1

_own := lower(data.signalprocessing.environment.result.environment)

_given := lower(input.fallbackEnvironment.environment)

own_environment := [x | x := data.signalprocessing.environment.result]

own_priority := [x | x := data.signalprocessing.priority.result with input.environment as _own]

own_business := [x | x := data.signalprocessing.business.result with input.environment as _own]

own_severity := [x | x := data.signalprocessing.severity.determine_severity]

own_labels := [x | x := data.signalprocessing.labels.labels]

given_priority := [x | x := data.signalprocessing.priority.result with input.environment as _given]

given_business := [x | x := data.signalprocessing.business.result with input.environment as _given]

given_severity := own_severity

given_labels := own_labels

own := {
	"environment": own_environment,
	"severity": own_severity,
	"priority": own_priority,
	"labels": own_labels,
	"business": own_business,
}

given := {
	"environment": own_environment,
	"severity": own_severity,
	"priority": given_priority,
	"labels": own_labels,
	"business": given_business,
}
