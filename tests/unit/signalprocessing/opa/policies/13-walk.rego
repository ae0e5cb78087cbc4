package signalprocessing

import rego.v1

default environment := {"environment": "Unknown", "source": "default"}

severity := "warning" if { walk(input, [_, value]); value == "error" } else := "info"
depths := [count(path) | walk(input, [path, _])]
priority := {"priority": "P2", "policy_name": sprintf("depth %v of %v", [max(depths), count(depths)])}
labels := {"max": [format_int(max(depths), 16)]}
