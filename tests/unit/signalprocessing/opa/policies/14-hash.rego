package signalprocessing

import rego.v1

default environment := {"environment": "Unknown", "source": "default"}

severity := "info"
bucket := substring(crypto.sha256(input.namespace.name), 0, 2)
priority := {"priority": "P3", "policy_name": bucket}
labels := {"md5": [crypto.md5(input.signal.name)], "b64": [base64.encode(input.signal.name), base64.decode(base64.encode(input.signal.severity))]}
