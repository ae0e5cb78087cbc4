package signalprocessing

import rego.v1

default environment := {"environment": "Unknown", "source": "default"}

started := time.parse_rfc3339_ns(input.signal.labels.since)
age := time.parse_rfc3339_ns("2026-06-01T00:00:00Z") - started
severity := "critical" if age > time.parse_duration_ns("24h") else := "info"
weekday := time.weekday(started)
priority := {"priority": "P1", "policy_name": weekday} if weekday in ["Saturday", "Sunday"] else := {"priority": "P2", "policy_name": "week"}
labels := {"date": [sprintf("%04d-%02d-%02d", time.date(started))]}
