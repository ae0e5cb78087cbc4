package signalprocessing

import data.signalprocessing.environment as where

default environment := {"environment": "Unknown", "source": "default"}

environment := {"environment": "Production", "source": "name"} if startswith(input.namespace.name, "prod")

default weight(_) := 0

weight(word) := 3 if lower(trim_space(word)) == "critical"

weight(word) := 2 if lower(trim_space(word)) == "high"

severity := "critical" if {
	weight(input.signal.severity) == 3
	where.environment == "Production"
} else := "high" if {
	weight(input.signal.severity) > 1
} else := "warning" if {
	some _, value in input.namespace.labels
	value in {"gold", "Gold"}
} else := "info"

owners contains {"kind": owner.kind, "tags": tags} if {
	some owner in input.workload.ownerChain
	tags := {lower(part) | some part in split(owner.name, "-")}
}

teams contains upper(value) if some "team", value in input.namespace.labels

counts[kind] := count([1 | some owner in owners; owner.kind == kind]) if some kind in {owner.kind | some owner in owners}

every_owner_is_named if every owner in input.workload.ownerChain { owner.name != "" }

priority := {"priority": "P1", "policy_name": concat("+", teams)} if {
	every_owner_is_named
	count(owners) > 1
} else := {"priority": "P2", "policy_name": sprintf("%v", [counts])}

labels := {"owners": [json.marshal(owner) | some owner in owners], "kinds": [kind | some kind, _ in counts]}
