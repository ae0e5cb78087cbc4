package signalprocessing

default environment := {"environment": "Unknown", "source": "default"}

severity := "high" if {
	not object.subset({ # a { in a comment
		"kind": input.workload.kind, "name": "x",
	}, {"kind": "Node", "name": "x"})
} else := "info"

priority := {"priority": "P1", "policy_name": "a"} if {
	not {"ns": input.namespace.name, "tags": {"x"}} in found
} else := {"priority": "P2", "policy_name": "b"}

found contains {`ns`: name, "tags": tags} if {
	some name in ["shop", "web"]
	tags := {"x", lower(name)}
}

found contains {"ns": "ünal", "tags": {"y", "z"}}

labels := {name: [json.marshal(item)] | some item in found; name := item.ns}
