package signalprocessing

import rego.v1

k1 := input.signal.name.x
k2 := input.signal.name[0]
k4 := [v | v := input.signal.name[_]]
k5 := [i | input.signal.severity[i]]
k6 := {v | v := input.namespace[_]}
k7 := [v | v := input.namespace.labels[_][_]]
k8 := input.namespace.labels[_]
k9 := [x.kind | x := input.workload.ownerChain[_]]
k10 := input.workload.ownerChain[0].kind
k11 := input.workload.ownerChain[count(input.workload.ownerChain) - 1].name
k12 := input.workload.ownerChain["0"]
k13 := input.workload.ownerChain[_].name
k14 := input.list[3][0]
k15 := input.list[8][0]
k16 := input.list[9].k
k17 := [x | x := input.list[_].k]
k18 := [x | x := input.list[_][_]]
k19 := {"a", "b"}["a"]
k20 := {"a", "b"}["c"]
k21 := {"a": 1}["a"]
k23 := {x | some x in {"b": 1, "a": 2}}
k24 := [[k, v] | some k, v in {"b": 1, "a": 2}]
k25 := [[k, v] | some k, v in ["x", "y"]]
k26 := [[k, v] | some k, v in {"x", "y"}]
k29 := count(input.signal.severity)
k30 := max(input.signal.severity)
k31 := input.namespace.labels["tier"]
k32 := input.namespace["labels"].tier
k33 := input["namespace"]["labels"]["tier"]
k34 := x if { some x; input.namespace.labels[x] == "gold" }
k35 := [p | some p; input.namespace.labels[p]]
k36 := {p: q | q := input.namespace.labels[p]}
k37 := [[i, j] | some i, j; input.list[i] == input.list[j]; i < j]
k38 := [a | a := input.list[_]; is_number(a)]
k39 := [a | some a in input.list; not is_number(a)]
k40 := [o | some o in input.workload.ownerChain; o.kind in {"Deployment", "StatefulSet"}]
k41 := {o.kind: o.name | some o in input.workload.ownerChain}
k42 := {o.kind: {p.name | some p in input.workload.ownerChain; p.kind == o.kind} | some o in input.workload.ownerChain}
k43 := count({o | some o in input.workload.ownerChain})
k44 := [upper(x) | some x in sort([o.kind | some o in input.workload.ownerChain])]
k45 := input.nested.a.b.c[1][1][0]
k46 := input.nested[_][_][_]
k47 := [x | x := input.nested[_][_][_][_]]
k48 := [p | walk(input.nested, [p, 3])]
k49 := [p | walk(input.nested, [p, v]); v == 2]
k50 := [v | walk(input.list, [[9, "k"], v])]
k51 := [v | walk(input.nested, [["a", _], v])]

default environment := {"environment": "Unknown", "source": "default"}

default severity := "info"

default priority := {"priority": "P3", "policy_name": "constant"}
