# The rules of a policy in one file per dimension, each as a list that is empty when the rule is undefined. Each file has
# a package of its own; priority and business class get the environment in lower case as `input.environment`.
# `…_with_fallback` are the same rules, evaluated with `input.fallbackEnvironment` in place of the policy's environment.
package kubernaut_entry

import rego.v1

_own_environment := lower(data.signalprocessing.environment.result.environment)

_fallback_environment := lower(input.fallbackEnvironment.environment)

environment := [x | x := data.signalprocessing.environment.result]

priority := [x | x := data.signalprocessing.priority.result with input.environment as _own_environment]

business := [x | x := data.signalprocessing.business.result with input.environment as _own_environment]

severity := [x | x := data.signalprocessing.severity.determine_severity]

labels := [x | x := data.signalprocessing.labels.labels]

priority_with_fallback := [x | x := data.signalprocessing.priority.result with input.environment as _fallback_environment]

business_with_fallback := [x | x := data.signalprocessing.business.result with input.environment as _fallback_environment]

severity_with_fallback := severity

labels_with_fallback := labels

decision := {
	"environment": environment,
	"severity": severity,
	"priority": priority,
	"labels": labels,
	"business": business,
}

decision_with_fallback := {
	"environment": environment,
	"severity": severity,
	"priority": priority_with_fallback,
	"labels": labels,
	"business": business_with_fallback,
}
