package signalprocessing

import rego.v1

leaf contains [path, value] if { walk(input.namespace, [path, value]); not is_object(value) }
allkeys contains k if { walk(input, [path, _]); k := path[count(path) - 1] }
strs := [v | walk(input.signal, [_, v]); is_string(v)]
paths := {concat("/", [format(x) | some x in p]) | walk(input.nested, [p, v]); is_number(v)}
format(x) := x if is_string(x)
format(x) := format_int(x, 10) if is_number(x)
ev1 if every x in input.workload.ownerChain { x.kind != "Db" }
ev2 if every k, v in input.namespace.labels { startswith(k, "t"); v != "" }
ev4 if every x in input.missing { x != 1 }
ev4 if every x in input.missing { x }
ev5 if every i, x in input.dup { i < 3; x in {"a", "b"} }
ne1 if not every_ok
every_ok if every k, v in input.namespace.labels { is_string(v); k != "" }
ne2 if not input.namespace.labels.tier
ne3 if not input.namespace.labels.tier == "gold"
ne4 if not "gold" in input.namespace.labels
ne5 if not startswith(input.namespace.name, "prod")
ne6 if not lower(input.namespace.labels.tier) in {"gold"}
ne7 if not count(input.namespace.labels) > 2
ne8 if not input.a.b.c
ne9 if { not f(input.namespace.name) }
ne10 if not {x | some x in input.dup} == {"a", "b"}
ne11 if not [1 | input.nope][0]
ne13 if { not input.namespace.labels["tier"] in ["gold", input.nope] }
ne14 if { x := input.nope; not x }
ne15 if not input.detectedLabels.pdbProtected
ne16 if not false
ne17 if not (1 + input.nope) == 2
f(x) if startswith(x, "prod")
f(x) if x == "shop"
un1 := x if { [x, "b"] = ["a", "b"] }
un4 := [a, b] if { [a, b] = split(input.namespace.name, "-") }
un5 := r if { [_, r] := split(input.namespace.name, "-") }
un6 := x if { x = input.signal.name; x = "X" }
un7 := [x | x = input.dup[_]]
un8 := [i | input.dup[i] = "a"]
un9 := [i | input.dup[i] == "a"]
un10 := {k | input.namespace.labels[k]}
un11 := {k | input.namespace.labels[k] = "1"}
un12 := count([1 | input.namespace.labels[_]])

default environment := {"environment": "Unknown", "source": "default"}

default severity := "info"

default priority := {"priority": "P3", "policy_name": "constant"}
