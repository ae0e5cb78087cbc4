package signalprocessing

import rego.v1

default environment := {"environment": "Unknown", "source": "default"}

severity := "high" if semver.compare(input.workload.labels.version, "1.10.0") < 0 else := "info"
priority := {"priority": "P2", "policy_name": input.workload.labels.version} if semver.is_valid(input.workload.labels.version) else := {"priority": "P3", "policy_name": "no version"}
labels := {"parts": split(trim_prefix(input.workload.labels.version, "v"), ".")}
