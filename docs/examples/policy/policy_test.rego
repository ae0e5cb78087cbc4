package signalprocessing_test

import rego.v1

import data.signalprocessing

crash(environment) := {
	"signal": {"name": "KubePodCrashLooping", "severity": "critical"},
	"namespace": {"name": "shop", "labels": {"kubernaut.ai/environment": environment}},
}

test_a_crash_in_production_is_p0 if {
	signalprocessing.priority.priority == "P0" with input as crash("production")
}

test_every_spelling_of_critical if {
	every spelling in ["Critical", "sev1", " P0 "] {
		signalprocessing.severity == "critical" with input.signal.severity as spelling
	}
}

test_the_alert_cannot_say_that_it_is_production if {
	signalprocessing.environment.source == "default" with input.signal.labels as {"kubernaut.ai/environment": "production"}
}

todo_test_night_shift if false
