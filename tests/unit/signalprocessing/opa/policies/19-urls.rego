package signalprocessing

import rego.v1

default environment := {"environment": "Unknown", "source": "default"}

severity := "warning" if count(parts) > 3 else := "info"
parts := split(urlquery.decode(input.signal.labels.url), "/")
priority := {"priority": "P2", "policy_name": parts[2]} if parts[0] == "https:" else := {"priority": "P3", "policy_name": "none"}
labels := {"q": [urlquery.encode(input.signal.labels.url)], "rev": [strings.reverse(input.signal.name)], "n": [format_int(strings.count(input.signal.labels.url, "/"), 10)]}
